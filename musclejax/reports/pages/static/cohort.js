// The page of a cohort: marks of its scans, and the rows of one muscle.
"use strict";
(() => {
  const { save, equip, review, element } = window.musclejax;
  const data = (id) => JSON.parse(document.getElementById(id).textContent);
  const at = (id) => document.getElementById(id);

  const { marks, scans, remarks } = data("review-data");
  const table = at("scans");
  const titles = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent);
  const rows = Array.from(table.tBodies[0].rows);

  function decoded(address) {
    try {
      return decodeURIComponent(address);
    } catch {
      return null; // bytes that are not text
    }
  }

  // The page of a scan leads here for the one before or after it: this page knows their order.
  function leadOn() {
    const [, way, address] = /^#(before|after)=(.*)$/.exec(location.hash) ?? [];
    const here = way ? scans.findIndex(([name]) => name === decoded(address)) : -1;
    if (here < 0) return;
    const step = way === "before" ? -1 : 1, scanAt = titles.indexOf("scan");
    for (let n = here + step; n in rows; n += step) {
      const link = rows[n].cells[scanAt].querySelector("a");
      if (link) return location.replace(link.href);
    }
    rows[here].scrollIntoView({ block: "center" }); // there is no other
  }

  function reviewScans() {
    const [markAt, commentAt] = [titles.indexOf("mark"), titles.indexOf("comment")];
    const reviewable = scans.filter(([, checksum]) => checksum !== null);
    const number = new Map(scans.map(([name], n) => [name, n]));
    const known = new Map(scans.map(([name]) => [name, new Map()])); // as the page was made
    const files = new Map(); // scan -> its NAME_review.csv
    for (const [scan, slice, mark, comment, file] of remarks) {
      if (!known.has(scan)) known.set(scan, new Map());
      if (file !== "review.csv") files.set(scan, file);
      const own = known.get(scan), index = slice === null ? "" : String(slice);
      const before = own.get(index) ?? { mark: "", comment: "" };
      const comments = new Set([...before.comment.split("; "), comment].filter(Boolean));
      own.set(index, { mark: before.mark || mark, comment: [...comments].join("; ") });
    }
    for (const [n, [name]] of scans.entries()) {
      const mark = rows[n].cells[markAt].textContent.trim(); // of a record, if its review is gone
      if (mark && !known.get(name).has("")) known.get(name).set("", { mark, comment: "" });
    }
    const same = (a, b) => a.mark === b.mark && a.comment === b.comment;
    const before = (name, index) => known.get(name).get(index) ?? { mark: "", comment: "" };
    const edited = new Map();

    // What the browser keeps; pages of scans change it too.
    function readEdits() {
      for (const [name, checksum] of reviewable) {
        const own = Object.entries(review.edits(name, checksum));
        edited.set(name, Object.fromEntries(own.filter(([index, edit]) => !same(edit, before(name, index)))));
      }
    }

    const remark = (name, index) => edited.get(name)?.[index] ?? before(name, index);
    const slices = (name) =>
      [...new Set([...known.get(name).keys(), ...Object.keys(edited.get(name) ?? {})])].filter(Boolean);

    function change(name, part) {
      const own = edited.get(name), now = { ...remark(name, ""), ...part };
      delete now.saved;
      if (same(now, before(name, ""))) delete own[""];
      else own[""] = now;
      const kept = review.keep(name, scans[number.get(name)][1], own);
      show(name);
      tell(kept ? "" : "This browser keeps nothing: save before you leave.");
    }

    function show(name) {
      const { cells } = rows[number.get(name)], now = remark(name, "");
      for (const [cell, text] of [[cells[markAt], now.mark], [cells[commentAt], now.comment]]) {
        cell.dataset.value = text;
        if (!cell.firstElementChild) cell.textContent = text; // no control yet: see `edit`
      }
    }

    function tell(text) {
      const done = reviewable.filter(([name]) => remark(name, "").mark).length;
      at("reviewed").textContent = `${done} of ${reviewable.length}`;
      let unsaved = 0;
      for (const own of edited.values()) unsaved += Object.values(own).filter((e) => !e.saved).length;
      const state = unsaved ? `, ${unsaved} not saved` : done ? ", all saved" : "";
      at("review-state").textContent = [`${done} of ${reviewable.length} reviewed${state}.`, text].join(" ");
    }

    // Controls are made for rows that come into view: a thousand at once would be slow.
    function edit(n) {
      const [name] = scans[n], { cells } = rows[n], now = remark(name, "");
      const select = element("select", {});
      select.setAttribute("aria-label", `Mark of ${name}`);
      select.append(...["", ...marks].map((mark) => element("option", { value: mark, textContent: mark || "–" })));
      select.value = now.mark;
      select.addEventListener("change", () => change(name, { mark: select.value }));
      const input = element("input", { type: "text", value: now.comment });
      input.setAttribute("aria-label", `Comment on ${name}`);
      input.addEventListener("change", () => change(name, { comment: input.value.trim() }));
      const count = slices(name).length;
      cells[markAt].replaceChildren(select, ...(count ? [` + ${count} slice${count > 1 ? "s" : ""}`] : []));
      cells[commentAt].replaceChildren(input);
    }

    const seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        seen.unobserve(target);
        edit(rows.indexOf(target));
      }
    }, { rootMargin: "300px" });

    function saveAll() {
      const all = [], old = new Set();
      for (const name of known.keys()) {
        for (const index of ["", ...slices(name).sort((a, b) => a - b)]) {
          const { mark, comment } = remark(name, index);
          if (mark || comment) all.push([name, index, mark, comment]);
          const entry = edited.get(name)?.[index];
          if (entry && before(name, index).mark && files.has(name)) old.add(files.get(name));
          if (entry) entry.saved = true;
        }
        if (edited.has(name)) review.keep(name, scans[number.get(name)][1], edited.get(name));
      }
      save("review.csv", review.csv(all));
      const remove = old.size ? ` Remove ${[...old].join(", ")}: it has other marks.` : "";
      tell(`review.csv is in your downloads: put it into the folder of this page.${remove}`);
    }

    function refresh() {
      readEdits();
      for (const [name] of reviewable) {
        show(name);
        if (rows[number.get(name)].cells[markAt].firstElementChild) edit(number.get(name));
      }
      tell("");
    }

    readEdits();
    for (const [name] of reviewable) {
      show(name);
      seen.observe(rows[number.get(name)]);
    }
    addEventListener("storage", refresh);
    addEventListener("pageshow", ({ persisted }) => persisted && refresh());
    at("save-review").addEventListener("click", saveAll);
    at("review-help").hidden = at("review-tools").hidden = false;
    tell("");
  }

  function showMuscles() {
    const { figures, rows } = data("summary-data");
    if (!rows.length || !at("one-muscle")) return;
    const which = at("which-muscle"), place = at("one-muscle-table");
    const named = ([region, muscle]) => `${region}: ${muscle}`;
    for (const name of new Set(rows.map(named))) which.append(element("option", { value: name, textContent: name }));

    function show() {
      const own = rows.filter((row) => named(row) === which.value);
      const shown = figures.map((_, n) => n).filter((n) => own.some((row) => row[n + 6] !== null));
      const texts = ["subject", "visit", "scan", "truncated"].map((title, n) => [title, n]).filter(
        ([, n]) => n > 1 || rows.some((row) => row[n + 2] && row[n + 2] !== row[4]));
      const table = element("table", { id: `scans-${which.value.replace(/\W+/g, "-")}`, className: "sortable" });
      table.createCaption().textContent = `${which.value}, scan by scan`;
      const head = table.createTHead().insertRow();
      for (const [title] of texts) head.append(element("th", { scope: "col", textContent: title }));
      for (const n of shown) head.append(element("th", { scope: "col", className: "number", textContent: figures[n] }));
      const body = table.createTBody();
      for (const [, , subject, visit, scan, truncated, ...values] of own) {
        const row = body.insertRow(), words = [subject, visit, scan, truncated ? "yes" : ""];
        for (const [, n] of texts) row.insertCell().textContent = words[n];
        for (const n of shown) {
          const cell = row.insertCell();
          cell.className = "number";
          cell.textContent = values[n]?.toFixed(1) ?? "";
        }
      }
      const frame = element("div", { className: "table", tabIndex: 0, role: "region" });
      frame.setAttribute("aria-label", table.caption.textContent);
      frame.append(table);
      place.replaceChildren(frame);
      equip(table);
    }

    which.addEventListener("change", show);
    at("one-muscle").hidden = false;
    show();
  }

  leadOn();
  reviewScans();
  showMuscles();
})();
