// What a person says of scans and slices: kept by the browser until it is saved as a file.
"use strict";
(() => {
  const key = (name, checksum) => `musclejax review ${checksum} ${name}`;

  // Slice ("" of the whole scan) -> { mark, comment, saved }: what differs from the page as it was made.
  function edits(name, checksum) {
    try {
      return JSON.parse(localStorage.getItem(key(name, checksum))) ?? {};
    } catch {
      return {}; // a browser that keeps nothing, or what another program left there
    }
  }

  function keep(name, checksum, found) {
    try {
      if (Object.keys(found).length) localStorage.setItem(key(name, checksum), JSON.stringify(found));
      else localStorage.removeItem(key(name, checksum));
      return true;
    } catch {
      return false;
    }
  }

  // Rows of scan, slice, mark, comment as `musclejax measure` reads them.
  function csv(rows) {
    const quoted = window.musclejax.quoted;
    return [["scan", "slice", "mark", "comment"], ...rows].map((row) => row.map(quoted).join(",") + "\n").join("");
  }

  window.musclejax.review = { edits, keep, csv };
})();
