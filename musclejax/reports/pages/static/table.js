// Tables of class "sortable": sorted by their titles, filtered by words, exported as they stand.
"use strict";
(() => {
  const FORMULA = /^[=+\-@\t\r]/; // a cell that a spreadsheet would compute
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // What a cell says: a control in it has its value there.
  const value = (cell) => cell.dataset.value ?? cell.textContent.trim();

  function sort(table, index, descending) {
    const body = table.tBodies[0];
    const isNumber = table.tHead.rows[0].cells[index].classList.contains("number");
    const rows = Array.from(body.rows, (row) => [value(row.cells[index]), row]);
    const sign = descending ? -1 : 1;
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === ""); // what is empty comes last
      return sign * (isNumber ? parseFloat(a) - parseFloat(b) : collator.compare(a, b));
    });
    body.replaceChildren(...rows.map(([, row]) => row));
    for (const [n, head] of Array.from(table.tHead.rows[0].cells).entries()) {
      head.setAttribute("aria-sort", n !== index ? "none" : descending ? "descending" : "ascending");
    }
  }

  // Every word must stand in the row: "left VL" finds VL of the left.
  function filter(table, words, told) {
    let count = 0;
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of table.tBodies[0].rows) {
      const found = Array.from(row.cells, value).join(" ").toLowerCase();
      row.hidden = !wanted.every((word) => found.includes(word));
      count += !row.hidden;
    }
    told.textContent = `${count} of ${table.tBodies[0].rows.length} rows`;
  }

  function quoted(content) {
    const safe = FORMULA.test(content) && isNaN(Number(content)) ? `'${content}` : content;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function save(name, content) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function exported(table) {
    const rows = [table.tHead.rows[0], ...Array.from(table.tBodies[0].rows).filter((r) => !r.hidden)];
    return rows.map((row) => Array.from(row.cells, (cell) => quoted(value(cell))).join(",") + "\n").join("");
  }

  function element(kind, properties) {
    return Object.assign(document.createElement(kind), properties);
  }

  function equip(table) {
    for (const [index, head] of Array.from(table.tHead.rows[0].cells).entries()) {
      const button = element("button", { type: "button", textContent: head.textContent });
      button.addEventListener("click", () => {
        sort(table, index, head.getAttribute("aria-sort") === "ascending");
      });
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
    }
    const tools = element("div", { className: "tools" });
    const words = element("input", { type: "search", placeholder: "Filter rows" });
    words.setAttribute("aria-label", `Filter: ${table.caption.textContent}`);
    const told = element("output", {});
    const button = element("button", { type: "button", textContent: "Save as CSV" });
    button.addEventListener("click", () => save(`${table.id}.csv`, exported(table)));
    words.addEventListener("input", () => filter(table, words.value, told));
    tools.append(words, button, told);
    table.closest(".table").before(tools);
    filter(table, "", told);
  }

  window.musclejax = { element, equip, quoted, save };
  document.querySelectorAll("table.sortable").forEach(equip);
})();
