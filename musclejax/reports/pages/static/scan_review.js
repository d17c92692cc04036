// The page of a scan: which slice is looked at, and what a person says of it and of the scan.
"use strict";
(() => {
  const { element, save, review } = window.musclejax;
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("scan-data").textContent);
  const EMPTY = { mark: "", comment: "" };
  const known = data.review; // slice, "" of the whole scan -> mark, comment, file
  const same = (a, b) => a.mark === b.mark && a.comment === b.comment;
  const edits = Object.fromEntries(
    Object.entries(review.edits(data.name, data.checksum)).filter(([index, own]) => !same(own, known[index] ?? EMPTY)),
  );
  const strip = at("strip");
  const followers = [];
  const center = () => showInStrip(scan.slice);
  const scan = { data, slice: null, go, center, follow: (follower) => followers.push(follower) };

  // Every part of the page shows the same slice.
  function go(index) {
    if (index === scan.slice) return;
    at("comment-slice").blur(); // a comment that is being typed belongs to the slice before
    scan.slice = index;
    for (const follower of followers) follower(index);
  }

  function showInStrip(index) {
    strip.querySelector(".current")?.classList.remove("current");
    const figure = at(`slice-${index}`);
    figure.classList.add("current");
    strip.scrollLeft = figure.offsetLeft - strip.offsetLeft - (strip.clientWidth - figure.clientWidth) / 2;
  }

  // Links to a slice show it in the viewer; without one they lead to its picture.
  function followClicks() {
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[href^='#slice-']");
      if (!link) return;
      if (document.documentElement.dataset.viewer !== "none") event.preventDefault();
      go(Number(link.hash.slice("#slice-".length)));
    });
    scan.follow(showInStrip);
  }

  const remark = (index) => edits[index] ?? known[index] ?? EMPTY;
  const places = () => [...new Set([...Object.keys(known), ...Object.keys(edits)])].sort((a, b) => a - b);

  function change(index, part) {
    const { mark, comment } = { ...remark(index), ...part };
    if (same({ mark, comment }, known[index] ?? EMPTY)) delete edits[index];
    else edits[index] = { mark, comment };
    const kept = review.keep(data.name, data.checksum, edits);
    tell(kept ? "" : "This browser keeps nothing: save before you leave.");
    if (index !== "") markPicture(index);
  }

  function markPicture(index) {
    const mark = at(`slice-${index}`)?.querySelector(".mark");
    if (mark) mark.textContent = remark(index).mark;
  }

  function tell(text) {
    const unsaved = Object.values(edits).filter((own) => !own.saved).length;
    const state = unsaved ? `${unsaved} not saved` : places().length ? "all saved" : "no marks yet";
    at("review-state").textContent = [state, text].filter(Boolean).join(". ");
  }

  function saveAll() {
    const rows = places().map((index) => [data.name, index, remark(index).mark, remark(index).comment]);
    const file = `${data.name}_review.csv`;
    save(file, review.csv(rows.filter(([, , mark, comment]) => mark || comment)));
    const changed = Object.keys(edits).some((index) => known[index]?.file === "review.csv" && known[index].mark);
    for (const own of Object.values(edits)) own.saved = true;
    review.keep(data.name, data.checksum, edits);
    tell(`${file} is in your downloads${changed ? "; review.csv has other marks of this scan: remove them there" : ""}`);
  }

  // A mark and a comment, of the scan or of the slice that is looked at.
  function control(which, index) {
    const select = at(`mark-${which}`), input = at(`comment-${which}`);
    select.append(...["", ...data.marks].map((mark) => element("option", { value: mark, textContent: mark || "–" })));
    select.addEventListener("change", () => change(index(), { mark: select.value }));
    input.addEventListener("change", () => change(index(), { comment: input.value.trim() }));
    return () => Object.assign(select, { value: remark(index()).mark }) && (input.value = remark(index()).comment);
  }

  // Give the whole scan a mark, or take it back.
  function markScan(mark) {
    change("", { mark: remark("").mark === mark ? "" : mark });
    showScan();
  }

  const showScan = control("scan", () => "");
  showScan();
  scan.markScan = markScan;
  if (strip) {
    followClicks();
    const show = control("slice", () => String(scan.slice));
    scan.follow((index) => {
      at("marked-slice").textContent = index;
      show();
    });
    Object.keys(edits).filter(Boolean).forEach(markPicture);
    const figures = strip.querySelectorAll("figure");
    go(Number(figures[figures.length >> 1].dataset.slice));
  }
  at("save-review").addEventListener("click", saveAll);
  at("review").hidden = false;
  at("no-scripts").remove();
  tell("");
  window.musclejax.scan = scan;
})();
