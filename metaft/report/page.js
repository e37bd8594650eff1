"use strict";
// Without this script the page shows all the same: it sorts tables, names what is pointed at, and opens all to print.
const value = (row, column) => {
  const cell = row.cells[column];
  return "v" in cell.dataset ? Number(cell.dataset.v) : cell.textContent.trim();
};
const order = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b
    : typeof a === typeof b ? a.localeCompare(b, "en", { numeric: true }) : typeof a === "number" ? -1 : 1;
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "descending" || (column === 0 && head.getAttribute("aria-sort") === "none");
      const rows = [...table.tBodies[0].rows];
      const sign = down ? 1 : -1;
      rows.sort((a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        return typeof x === typeof y ? sign * order(x, y) : order(x, y); // what has no number comes last
      });
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "ascending" : "descending");
      table.tBodies[0].append(...rows);
    });
  });
}
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);
document.addEventListener("pointermove", (event) => {
  const shape = event.target.closest ? event.target.closest("svg *") : null;
  const title = shape && [...shape.children].find((child) => child.tagName === "title");
  tip.hidden = !(title || (shape && shape.dataset.tip));
  if (title) { // the browser's own hint would come on top, and later
    shape.dataset.tip = title.textContent;
    title.remove();
  }
  if (tip.hidden) return;
  tip.textContent = shape.dataset.tip;
  tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.max(event.clientY - tip.offsetHeight - 10, 4)}px`;
});
const closed = [];
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not([open])")) {
    fold.open = true;
    closed.push(fold);
  }
});
addEventListener("afterprint", () => closed.splice(0).forEach((fold) => { fold.open = false; }));
