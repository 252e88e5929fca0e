// Opens and closes rows, and brings the page up to date every five seconds while somebody looks at it.
const open = new Set();
const show = () => document.querySelectorAll("button[data-row]").forEach((button) => {
  const isOpen = open.has(button.dataset.row);
  button.setAttribute("aria-expanded", isOpen);
  document.getElementById(button.dataset.row).hidden = !isOpen;
});
document.addEventListener("click", (event) => {
  const row = event.target.dataset && event.target.dataset.row;
  if (!row) return;
  open.has(row) ? open.delete(row) : open.add(row);
  show();
});
setInterval(async () => {
  if (document.hidden || String(getSelection())) return;
  let note = "";
  try {
    const answer = await fetch("/");
    if (!answer.ok) throw new Error(await answer.text());
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
    show();
  } catch (error) {
    note = "no answer; what stands here is old";
  }
  document.getElementById("note").textContent = note;
}, 5000);
