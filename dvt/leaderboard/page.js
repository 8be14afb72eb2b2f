"use strict";
(() => {
  const find = (selector) => document.querySelector(selector);
  const body = find("tbody"), rows = [...body.rows], heads = [...document.querySelectorAll("thead th")];
  const form = find(".filters"), fields = ["vit", "kind", "passes", "text"].map((id) => find(`#${id}`));
  const [vit, kind, passes, text] = fields;

  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const names = `${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase();
      const fits = (!vit.value || row.dataset.vit === vit.value) && (!kind.value || row.dataset.kind === kind.value)
        && (passes.value === "" || Number(row.cells[2].dataset.value) <= Number(passes.value))
        && words.every((word) => names.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    for (const section of document.querySelectorAll("section[data-vit]"))
      section.hidden = Boolean(vit.value) && section.dataset.vit !== vit.value;
    find("#nothing").hidden = shown > 0;
    find("#count").textContent = `${shown} of ${rows.length} rows`;
  }

  /* Rows without a value come last, whichever way is up; equal rows keep the order of the specification. */
  function sort(column, descending) {
    const isText = heads[column].dataset.kind === "text";
    const value = (row) => row.cells[column].dataset.value;
    const compare = (one, other) => isText ? one.localeCompare(other, "en", { numeric: true }) : one - other;
    const ordered = rows.map((row, number) => ({ row, number, value: value(row) })).sort((one, other) => {
      if ((one.value === undefined) !== (other.value === undefined)) return one.value === undefined ? 1 : -1;
      const order = one.value === undefined ? 0 : compare(one.value, other.value);
      return (descending ? -order : order) || one.number - other.number;
    });
    body.append(...ordered.map((each) => each.row));
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    sort(column, now ? now === "ascending" : head.dataset.kind === "number-down");
  }));
  for (const field of fields) field.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    for (const head of heads) head.removeAttribute("aria-sort");
    body.append(...rows);
    setTimeout(filter); /* after the fields are empty */
  });
  filter();
})();
