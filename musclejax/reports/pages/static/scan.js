// The viewer of a scan: NiiVue, with the scan in 256 grays and its labels as colors over it.
// Where it cannot run, the pictures of all slices stay as they are.
"use strict";
(() => {
  const { element, scan } = window.musclejax;
  const { data } = scan;
  const at = (id) => document.getElementById(id);
  const muscles = JSON.parse(at("muscle-data").textContent);
  const HEADER = 352; // bytes of a NIfTI file before its voxels
  const RGBA = 2304; // NIfTI's type of a color
  const NOTCH = 50; // pixels of a wheel that move one slice
  const ZOOM = 1.25;
  const look = { plane: "axial", style: "both", shown: "both", opacity: 0.4, hidden: new Set() };
  const canvas = at("canvas");
  let niivue, nv, grays, codes, colors, dims, labeled, edge;

  async function inflate(id) {
    const text = atob(at(id).textContent);
    const bytes = new Uint8Array(text.length);
    for (let n = 0; n < text.length; n++) bytes[n] = text.charCodeAt(n);
    at(id).remove(); // it is not needed any more
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // --- Labels -----------------------------------------------------------------------------------

  // Labeled voxels whose neighbor in the plane of the slices has another label.
  function outlines() {
    const strides = [1, dims[0], dims[0] * dims[1]];
    const plane = [0, 1, 2].filter((axis) => axis !== data.axis);
    return labeled.map((n) => Number(plane.some((axis) => {
      const stride = strides[axis], place = Math.floor(n / stride) % dims[axis];
      return place === 0 || place === dims[axis] - 1 || codes[n - stride] !== codes[n] || codes[n + stride] !== codes[n];
    })));
  }

  function emptyColors(image) {
    const file = new Uint8Array(HEADER + 4 * codes.length);
    file.set(image.subarray(0, HEADER));
    const header = new DataView(file.buffer);
    header.setInt16(70, RGBA, true);
    header.setInt16(72, 32, true); // bits of a voxel
    return file.buffer;
  }

  function palette(opacity) {
    const found = new Uint32Array(256);
    for (const { number, color } of muscles) {
      if (look.hidden.has(number)) continue;
      const [red, green, blue] = color;
      const packed = ((Math.round(255 * opacity) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
      found[number] = found[number + data.right] = packed;
    }
    return found;
  }

  function paint() {
    const line = Math.min(1, 2.25 * look.opacity);
    const fills = palette({ both: look.opacity, fill: look.opacity, outline: 0, none: 0 }[look.style]);
    const lines = palette({ both: line, fill: look.opacity, outline: line, none: 0 }[look.style]);
    for (let m = 0; m < labeled.length; m++) {
      const n = labeled[m];
      colors[n] = (edge[m] ? lines : fills)[codes[n]];
    }
    nv.refreshLayers(nv.volumes[1], 1);
    nv.drawScene();
  }

  // --- Places -----------------------------------------------------------------------------------

  const apply = (matrix, place) =>
    [0, 1, 2].map((row) => matrix[row][3] + [0, 1, 2].reduce((sum, n) => sum + matrix[row][n] * place[n], 0));
  const voxelOf = (place) => // of the file, of which a part may be here
    apply(data.to_voxel, nv.frac2mm(place, 0, true)).map((v, axis) => {
      const first = data.first[axis];
      return Math.min(first + dims[axis] - 1, Math.max(first, Math.round(v)));
    });
  const placeOf = (voxel) => nv.mm2frac(apply(data.to_mm, voxel), 0, true);

  function levelText(slice, side) {
    const levels = data.levels[slice] ?? {};
    const known = side in levels ? [levels[side]] : Object.values(levels);
    return known.length ? `, level ${(known.reduce((a, b) => a + b) / known.length).toFixed(2)}` : "";
  }

  function describe(voxel) {
    const [i, j, k] = voxel.map((v, axis) => v - data.first[axis]);
    const n = i + dims[0] * (j + dims[1] * k);
    const slice = voxel[data.axis], code = codes[n];
    const side = code > data.right ? "right" : "left";
    const muscle = muscles.find(({ number }) => number === code % data.right);
    const intensity = Number((grays[n] * data.step).toPrecision(3));
    const parts = [
      `voxel ${voxel.join(", ")}`,
      `intensity ${grays[n] === 255 ? "≥ " : ""}${intensity}`,
      `slice ${slice}${levelText(slice, muscle ? side : "")}`,
    ];
    if (muscle) {
      const area = data.areas[slice]?.[side]?.[muscle.short];
      parts.push(`${muscle.short} ${muscle.name}, ${side}`);
      if (area !== undefined) parts.push(`${Number(area.toPrecision(3))} cm² in this slice`);
    }
    return parts.join(" · ");
  }

  function onCanvas(event) {
    const box = canvas.getBoundingClientRect(), scale = nv.uiData.dpr;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  function showPointer(event) {
    const place = nv.canvasPos2frac(onCanvas(event));
    at("pointer").textContent = place[0] < 0 ? "" : describe(voxelOf(place));
  }

  // --- Slices, zoom, views ----------------------------------------------------------------------

  function showSlice(slice) {
    if (voxelOf(nv.scene.crosshairPos)[data.axis] !== slice) {
      const voxel = voxelOf(nv.scene.crosshairPos);
      voxel[data.axis] = slice;
      nv.scene.crosshairPos = placeOf(voxel);
      nv.drawScene();
    }
    const number = data.slices.indexOf(slice);
    at("through").value = number;
    at("place").textContent = `slice ${slice} (${number + 1} of ${data.slices.length})${levelText(slice, "")}`;
  }

  function step(count) {
    const number = data.slices.indexOf(scan.slice) + count;
    scan.go(data.slices[Math.min(data.slices.length - 1, Math.max(0, number))]);
  }

  // Points of the scene are drawn at zoom * point + pan.
  function zoomTo(zoom, about) {
    const whole = nv.frac2mm([0.5, 0.5, 0.5]);
    nv.setPan2Dxyzmm([0, 1, 2].map((n) => whole[n] - zoom * about[n]).concat(zoom));
    nv.drawScene();
  }

  function zoomBy(factor) {
    const pan = nv.scene.pan2Dxyzmm, whole = nv.frac2mm([0.5, 0.5, 0.5]);
    const zoom = Math.min(20, Math.max(0.5, pan[3] * factor));
    zoomTo(zoom, [0, 1, 2].map((n) => (whole[n] - pan[n]) / pan[3]));
  }

  function fit() {
    zoomTo(1, nv.frac2mm([0.5, 0.5, 0.5]));
    if (look.plane !== "axial") return;
    const [width, height] = nv.screenSlices[0].fovMM.map(Math.abs); // it is negative downward
    zoomTo(Math.min(width / data.size_mm[0], height / data.size_mm[1]), nv.frac2mm(placeOf(data.middle)));
  }

  function setPlane(plane) {
    const axial = plane === "axial", { pan, crosshair, windowing } = niivue.DRAG_MODE;
    at("plane").value = look.plane = plane;
    nv.opts.mouseEventConfig = { leftButton: { primary: axial ? pan : crosshair }, rightButton: windowing, centerButton: pan };
    nv.opts.touchEventConfig = { singleTouch: axial ? pan : crosshair, doubleTouch: pan };
    nv.opts.crosshairWidth = axial ? 0 : 1;
    nv.setSliceType(axial ? nv.sliceTypeAxial : nv.sliceTypeMultiplanar);
    fit();
  }

  function setStyle(style) {
    if (style !== "none") look.shown = style;
    at("style").value = look.style = style;
    paint();
  }

  function setOpacity(percent) {
    at("opacity").value = percent;
    look.opacity = at("opacity").value / 100;
    paint();
  }

  // --- Controls ---------------------------------------------------------------------------------

  function toggleHelp() {
    at("help").hidden = !at("help").hidden;
    at("keys").setAttribute("aria-expanded", String(!at("help").hidden));
  }

  const STYLES = ["both", "outline", "fill"];
  const KEYS = {
    ArrowUp: () => step(1), ArrowRight: () => step(1), ArrowDown: () => step(-1), ArrowLeft: () => step(-1),
    PageUp: () => step(5), PageDown: () => step(-5), Home: () => step(-Infinity), End: () => step(Infinity),
    "+": () => zoomBy(ZOOM), "=": () => zoomBy(ZOOM), "-": () => zoomBy(1 / ZOOM), 0: fit,
    1: () => setPlane("axial"), 2: () => setPlane("planes"),
    o: () => setStyle(STYLES[(STYLES.indexOf(look.shown) + 1) % STYLES.length]),
    l: () => setStyle(look.style === "none" ? look.shown : "none"),
    "[": () => setOpacity(100 * look.opacity - 10), "]": () => setOpacity(100 * look.opacity + 10),
    r: () => scan.markScan(data.marks[0]), c: () => scan.markScan(data.marks[1]), u: () => scan.markScan(data.marks[2]),
    m: () => at("mark-slice").focus(), n: () => at("after").click(), p: () => at("before").click(), "?": toggleHelp,
  };

  function pressKey(event) {
    event.stopPropagation(); // NiiVue has other keys
    canvas.classList.remove("begun");
    const act = KEYS[event.key];
    if (event.type !== "keydown" || !act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }

  let turned = 0;
  function turnWheel(event) {
    event.preventDefault();
    event.stopPropagation();
    if (event.ctrlKey) {
      zoomBy(ZOOM ** (-Math.sign(event.deltaY) / 2));
      return;
    }
    turned += Math.max(-NOTCH, Math.min(NOTCH, event.deltaY * (event.deltaMode ? NOTCH : 1)));
    if (Math.abs(turned) < NOTCH) return;
    const count = -Math.sign(turned), tile = nv.screenSlices[nv.tileIndex(...onCanvas(event))];
    turned = 0;
    if (look.plane === "axial" || !tile || tile.axCorSag === 0) step(count);
    else nv.moveCrosshairInVox(...[2, 1, 0].map((n) => (n === tile.axCorSag ? count : 0)));
    showPointer(event);
  }

  function chooseMuscles() {
    const boxes = Array.from(document.querySelectorAll(".muscles input"));
    const choose = () => {
      look.hidden = new Set(boxes.filter((box) => !box.checked).map((box) => Number(box.value)));
      paint();
    };
    const set = (checked) => () => {
      for (const box of boxes) box.checked = checked;
      choose();
    };
    for (const box of boxes) box.addEventListener("change", choose);
    at("all").addEventListener("click", set(true));
    at("none").addEventListener("click", set(false));
  }

  function connect() {
    const screen = canvas.parentElement;
    screen.addEventListener("wheel", turnWheel, { capture: true, passive: false });
    for (const type of ["keydown", "keyup"]) screen.addEventListener(type, pressKey, { capture: true });
    canvas.addEventListener("blur", () => canvas.classList.remove("begun"));
    canvas.addEventListener("mousemove", showPointer);
    canvas.addEventListener("mouseleave", () => (at("pointer").textContent = ""));
    canvas.addEventListener("webglcontextlost", () => giveUp("The graphics of this browser have stopped"));
    at("plane").addEventListener("change", () => setPlane(at("plane").value));
    at("style").addEventListener("change", () => setStyle(at("style").value));
    at("opacity").addEventListener("input", () => setOpacity(at("opacity").value));
    at("through").addEventListener("input", () => scan.go(data.slices[at("through").value]));
    at("larger").addEventListener("click", () => zoomBy(ZOOM));
    at("smaller").addEventListener("click", () => zoomBy(1 / ZOOM));
    at("fit").addEventListener("click", fit);
    at("keys").addEventListener("click", toggleHelp);
    chooseMuscles();
    scan.follow(showSlice);
    nv.onLocationChange = () => scan.go(voxelOf(nv.scene.crosshairPos)[data.axis]);
  }

  // --- Start ------------------------------------------------------------------------------------

  function why() {
    if (typeof DecompressionStream === "undefined") return "This browser is too old for the viewer";
    if (!document.createElement("canvas").getContext("webgl2")) return "This browser has no WebGL 2 for the viewer";
    return "";
  }

  function giveUp(reason) {
    at("viewer").hidden = true;
    at("pictures").after(at("review"));
    at("pictures").classList.remove("thumbs");
    at("no-viewer").textContent = `${reason}: pictures of all slices stand for it.`;
    at("no-viewer").hidden = false;
    document.documentElement.dataset.viewer = "none";
  }

  async function start() {
    const [library, image, labels] = await Promise.all(["library", "image", "labels"].map((n) => inflate(`packed-${n}`)));
    document.head.append(element("script", { textContent: new TextDecoder().decode(library) }));
    niivue = window.niivue;
    dims = [42, 44, 46].map((n) => new DataView(image.buffer).getInt16(n, true));
    grays = image.subarray(HEADER);
    codes = labels.subarray(HEADER);
    labeled = Uint32Array.from(codes.keys()).filter((n) => codes[n]);
    edge = outlines();

    at("viewer").hidden = false;
    at("aside").append(at("review"));
    at("pictures").classList.add("thumbs");
    scan.center();
    nv = new niivue.Niivue({
      isRadiologicalConvention: true, showAllOrientationMarkers: true, sagittalNoseLeft: true,
      isNearestInterpolation: true, isForceMouseClickToVoxelCenters: true, multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
      dragAndDropEnabled: false, crosshairWidthUnit: "mm", crosshairColor: [0.4, 0.8, 1, 0.7], fontColor: [1, 1, 0.6, 1], logLevel: "error",
    });
    await nv.attachToCanvas(canvas, false);
    nv.addVolume(await niivue.NVImage.new(image.buffer, "scan.nii", "gray", 1, null, 0, 255));
    const overlay = await niivue.NVImage.new(emptyColors(image), "labels.nii");
    nv.addVolume(overlay);
    colors = new Uint32Array(overlay.img.buffer, overlay.img.byteOffset, codes.length);
    nv.updateInterpolation(0, true); // the scan is smooth, labels are not
    connect();
    nv.scene.crosshairPos = placeOf(dims.map((n, axis) => data.first[axis] + (n >> 1)));
    showSlice(scan.slice);
    setPlane("axial");
    paint();
    canvas.classList.add("begun"); // keys work at once; the ring is shown with the first of them
    canvas.focus({ preventScroll: true });
    window.musclejax.viewer = nv;
    document.documentElement.dataset.viewer = "ready";
  }

  const reason = why();
  if (reason) giveUp(reason);
  else start().catch((error) => giveUp(`The viewer does not run here (${error.message})`));
})();
