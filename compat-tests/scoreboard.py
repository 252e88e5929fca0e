#!/usr/bin/env python3
"""Prints scoreboard.json, the recorded results of client x scenario x target, as Markdown tables."""

import json
import pathlib
import sys

sys.dont_write_bytecode = True

from catalog import CLIENTS, KLAMM_TOOL_SCENARIOS, LIBRARY_SCENARIOS, PROGRAM_SCENARIOS, SCENARIOS, TARGETS, TOOL_SCENARIOS

PATH = pathlib.Path(__file__).resolve().parent / "scoreboard.json"


def load():
    """The recorded board: client -> scenario -> target -> pass, fail or '-'."""
    return json.loads(PATH.read_text()) if PATH.exists() else {}


def record(board, outcome):
    """A copy of the board with the outcome of a run laid over it."""
    merged = {client: {name: dict(cells) for name, cells in scenarios.items()} for client, scenarios in board.items()}
    for client, scenarios in outcome.items():
        for scenario, cells in scenarios.items():
            for target, (result, _) in cells.items():
                merged.setdefault(client, {}).setdefault(scenario, {})[target] = result
    return merged


def save(board):
    """Writes the board in the catalog's order, so that two runs differ only where their results do."""
    ordered = {
        client: {name: {t: board[client][name][t] for t in TARGETS if t in board[client][name]} for name in SCENARIOS if name in board[client]}
        for client in CLIENTS
        if client in board
    }
    PATH.write_text(json.dumps(ordered, indent=1) + "\n")


def table(board, names, targets):
    clients = [c for c in CLIENTS if any(v != "-" for n in names for v in board.get(c, {}).get(n, {}).values())]
    if not clients:
        return []
    rows = [
        "| scenario | " + " | ".join(CLIENTS[c] for c in clients) + " |",
        "|---|" + "---|" * len(clients),
    ]
    for name in names:
        cells = []
        for client in clients:
            results = [board.get(client, {}).get(name, {}).get(target, "?") for target in targets]
            cells.append("-" if "-" in results else " / ".join(results))
        if any(cell != "-" and set(cell) - set("?/ ") for cell in cells):
            rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


def markdown(board, targets=TARGETS):
    """A table each for libraries, tools, klamm's own tools and programs; a cell shows the targets' results, '-' where the client cannot express the scenario."""
    head = "Cells: " + " / ".join({"kafka": "Apache Kafka 4.3.1", "klamm": "klamm"}[t] for t in targets)
    parts = [[head + "; '-': the client cannot express it."], table(board, LIBRARY_SCENARIOS, targets), table(board, TOOL_SCENARIOS, targets)]
    parts += [table(board, KLAMM_TOOL_SCENARIOS, targets), table(board, PROGRAM_SCENARIOS, targets)]
    return "\n\n".join("\n".join(rows) for rows in parts if rows) + "\n"


if __name__ == "__main__":
    print(markdown(load()), end="")
