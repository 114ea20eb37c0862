"use strict";
// Sorting, filtering and printing. Without this script the page is whole, as written.
(() => {
  const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // Sorting: a button in each column's head, missing values last in either direction.

  function value(row, index, numbers) {
    const cell = row.cells[index];
    if (numbers) return "order" in cell.dataset ? Number(cell.dataset.order) : null;
    const text = cell.textContent.trim();
    return text === "" || text === "–" ? null : text;
  }

  function sort(head, direction) {
    const index = head.cellIndex;
    const numbers = head.classList.contains("right");
    const sign = direction === "ascending" ? 1 : -1;
    const body = head.closest("table").tBodies[0];
    const keyed = [...body.rows].map((row) => [value(row, index, numbers), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (numbers ? a - b : words.compare(a, b));
    });
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    body.append(...keyed.map(([, row]) => row));
  }

  function turn(head) {
    const first = head.classList.contains("right") ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    sort(head, head.getAttribute("aria-sort") === first ? second : first);
  }

  function steer(event) {
    const head = event.currentTarget.parentElement;
    const beside = { ArrowLeft: head.previousElementSibling, ArrowRight: head.nextElementSibling };
    const direction = { ArrowUp: "ascending", ArrowDown: "descending" }[event.key];
    if (direction) sort(head, direction);
    else if (event.key in beside) beside[event.key]?.querySelector("button").focus();
    else return;
    event.preventDefault();
  }

  for (const head of document.querySelectorAll(".sortable thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => turn(head));
    button.addEventListener("keydown", steer);
    head.replaceChildren(button);
  }

  // Filtering: tasks by data set, partition and model, rows by method.

  const form = document.getElementById("filter");
  const status = document.getElementById("shown");
  const tasks = [...document.querySelectorAll("section[data-task]")];
  const rows = [...document.querySelectorAll("[data-method]")];
  const links = [...document.querySelectorAll("nav a")];
  const counted = rows.filter((row) => row.closest(".board"));

  // The section that a link of the contents leads to; the page's end has none.
  function aim(link) {
    return document.getElementById(link.hash.slice(1)).closest("section");
  }

  function filter() {
    const wanted = form.elements.method.value.trim().toLowerCase();
    const selects = form.querySelectorAll("select");
    for (const task of tasks) {
      task.hidden = [...selects].some((s) => s.value && task.dataset[s.name] !== s.value);
    }
    for (const link of links) link.parentElement.hidden = aim(link)?.hidden ?? false;
    for (const row of rows) row.hidden = !row.dataset.method.toLowerCase().includes(wanted);
    const shown = counted.filter((row) => !row.hidden && !row.closest("section").hidden);
    status.textContent = `${shown.length} of ${counted.length} rows`;
  }

  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter(); // a browser that goes back fills the fields in again

  // The contents say which section is in sight.

  const inSight = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const one of entries) inSight[one.isIntersecting ? "add" : "delete"](one.target);
    const current = links.find((link) => inSight.has(aim(link)));
    for (const link of links) {
      if (link === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  });
  for (const link of links) if (aim(link)) watch.observe(aim(link));

  // A link to a cell opens what it lies in; paper has everything open.

  function reveal() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.closest("details");
    if (!folded || folded.open) return;
    folded.open = true;
    target.scrollIntoView();
  }

  let opened = [];
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const folded of opened) folded.open = true;
  });
  addEventListener("afterprint", () => {
    for (const folded of opened) folded.open = false;
  });
  reveal();
})();
