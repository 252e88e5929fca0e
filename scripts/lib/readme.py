#!/usr/bin/env python3
"""The parts of the README that scripts make: the scoreboard of the compatibility tests, the benchmarks' table, the differences from Apache Kafka, and
the examples, which are scenarios of the compatibility tests' clients.

    readme.py            writes them
    readme.py --check    writes nothing; exit code 1 if one is stale
"""

import pathlib
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"


def scoreboard():
    program = ROOT / "compat-tests" / "scoreboard.py"
    return subprocess.run([sys.executable, str(program)], check=True, capture_output=True, text=True).stdout


def benchmarks():
    page = ROOT / "src" / "server" / "docs" / "bench.md"
    if not page.exists():
        return ""
    # The page's own title is not wanted under the README's heading.
    return "".join(line for line in page.read_text().splitlines(keepends=True) if not line.startswith("# "))


def differences():
    """What differential-tests plays and klamm answers otherwise, on purpose: one row per reason."""
    apis = {}
    for line in (ROOT / "differential-tests" / "deviations.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = (part.strip() for part in line.split(" | ", 2))
            apis.setdefault(reason, set()).add(name.split(" ", 1)[0])
    rows = []
    for reason, names in apis.items():
        kind, sentence = reason.split(": ", 1)
        rows.append(f"| {', '.join(sorted(names))} | {kind} | {sentence} |")
    return "| API | Why | What differs |\n|---|---|---|\n" + "\n".join(sorted(rows)) + "\n"


# Language, the client that plays the example, its name for the broker's address, that address as the README writes it, and what stands before.
EXAMPLES = (
    ("python", "python/client.py", "BOOTSTRAP", '"127.0.0.1:9092"', "from confluent_kafka import Producer\n"),
    ("java", "java/Client.java", "BOOTSTRAP", '"127.0.0.1:9092"', ""),
    ("go", "go/main.go", "seeds...", '"127.0.0.1:9092"', ""),
    ("rust", "rust/rdkafka_driver.rs", ", bootstrap)", ', "127.0.0.1:9092")', ""),
    ("js", "node/client.js", "BOOTSTRAP", "'127.0.0.1:9092'", ""),
)


def examples():
    blocks = []
    for language, path, address, shown, before in EXAMPLES:
        source = (ROOT / "compat-tests" / path).read_text()
        lines = source.split("README: begin\n", 1)[1].split("README: end", 1)[0].splitlines()[:-1]
        code = textwrap.dedent("\n".join(lines)).replace("\t", "    ").replace(address, shown)
        blocks.append(f"```{language}\n{before}{code}\n```\n")
    return "\n".join(blocks)


def main():
    text = README.read_text()
    for name, content in (("examples", examples()), ("scoreboard", scoreboard()), ("benchmarks", benchmarks()), ("differences", differences())):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            sys.exit(f"README.md has no section {name}")
        body = f"\n{content.strip()}\n\n" if content.strip() else ""
        text = before + begin + body + end + after
    if text == README.read_text():
        return
    if "--check" in sys.argv[1:]:
        sys.exit("the README's examples, scoreboard, benchmarks or differences are stale; scripts/fix rewrites them")
    README.write_text(text)


main()
