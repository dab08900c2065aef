// A table of words and numbers: HTML as it should be, ordered by any column at the press of a button.
"use strict";

(() => {
  const { element } = glassformer;

  glassformer.component("table", (root, data, page) => {
    const heads = data.headers.map(([text, align], index) => head(text, align, index));
    const rows = data.rows.map((cells) => ({ cells, element: element("tr", {}, ...cells.map(cell)) }));
    const body = element("tbody", {}, ...rows.map((row) => row.element));
    const table = element("table", { class: "gf-table", "aria-label": data.label }, element("thead", {}, element("tr", {}, ...heads)), body);
    // a wide table scrolls inside its box, by the keyboard too
    root.append(element("div", { class: "gf-table-box", tabindex: "0", role: "region", "aria-label": data.label }, table));

    function kind(index) {
      return data.headers[index][1] === "left" ? { class: "gf-table-words" } : {};
    }

    function head(text, _align, index) {
      const inside = data.sortable ? element("button", { type: "button" }, text) : text;
      const made = element("th", { scope: "col", ...kind(index) }, inside);
      if (data.sortable) inside.addEventListener("click", () => order(index));
      return made;
    }

    function cell([text, _value, href], index) {
      const inside = href ? element("a", { href }, text) : text;
      return index === 0 ? element("th", { scope: "row", ...kind(index) }, inside) : element("td", kind(index), inside);
    }

    function order(index) {
      const sign = heads[index].getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const numbers = rows.some((row) => row.cells[index][1] !== null);
      rows.sort((one, other) => {
        const [[a, x], [b, y]] = [one.cells[index], other.cells[index]];
        if (!numbers) return sign * a.localeCompare(b, undefined, { numeric: true });
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (x - y);
      });
      body.append(...rows.map((row) => row.element));
      for (const each of heads) each.removeAttribute("aria-sort");
      heads[index].setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      page.announce(`ordered by ${data.headers[index][0]}, ${sign > 0 ? "ascending" : "descending"}`);
    }
  });
})();
