"use strict";
// The gallery: images with objects and detections, worst first, filtered by class, kind and score.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const NS = "http://www.w3.org/2000/svg";
  const PAGE = 48;
  const by = (id) => document.getElementById(id);
  const [RIGHT, MISSED, ALL] = ["right", "missed", ""];
  const state = { shown: [], drawn: 0, open: -1 };

  const element = (name, attributes, text, space) => {
    const made = space ? document.createElementNS(space, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // Rows of the data: truth [x1, y1, x2, y2, label, score of its detection or -1, crowd],
  // found [x1, y1, x2, y2, label, score, kind].
  const threshold = (label) => {
    const chosen = by("score").value;
    return chosen === "own" ? data.thresholds[label] : Number(chosen);
  };
  const kept = (image) => image.found.filter((row) => row[5] >= threshold(row[4]));
  const kindOf = (row) => data.kinds[row[6]];
  const isMissed = (row) => !row[6] && row[5] < threshold(row[4]);

  function counts(image) {
    const total = {};
    const add = (name) => { total[name] = (total[name] || 0) + 1; };
    for (const row of kept(image)) add(kindOf(row));
    for (const row of image.truth) if (isMissed(row)) add(MISSED);
    return total;
  }

  function matches(image) {
    const label = by("class").value === ALL ? null : Number(by("class").value);
    const kind = by("kind").value;
    const ofClass = (row) => label === null || row[4] === label;
    const found = kept(image).filter(ofClass);
    const truth = image.truth.filter(ofClass);
    if (kind === ALL) return label === null || found.length > 0 || truth.length > 0;
    if (kind === MISSED) return truth.some(isMissed);
    if (kind === "none wrong") return !found.some((r) => kindOf(r) !== RIGHT) && !truth.some(isMissed);
    return found.some((row) => kindOf(row) === kind);
  }

  function errors(image) {
    const total = counts(image);
    let wrong = 0;
    for (const [name, count] of Object.entries(total)) if (name !== RIGHT && name !== "ignored") wrong += count;
    return wrong;
  }

  function highest(image) {
    return Math.max(0, ...image.found.filter((r) => kindOf(r) !== RIGHT).map((r) => r[5]));
  }

  function words(image) {
    const total = counts(image);
    const parts = [];
    for (const name of [...data.kinds, MISSED])
      if (total[name]) parts.push(`${total[name]} ${data.words[name] || name}`);
    return parts.join(", ") || "no detections, nothing missed";
  }

  function box(parent, row, colour, dashed, unit) {
    const at = { x: row[0], y: row[1], width: Math.max(row[2] - row[0], 1),
      height: Math.max(row[3] - row[1], 1), fill: "none" };
    parent.append(element("rect", { ...at, stroke: "#000", "stroke-opacity": .55,
      "stroke-width": 3.2 * unit }, undefined, NS));
    const line = { ...at, stroke: colour, "stroke-width": 1.7 * unit };
    if (dashed) line["stroke-dasharray"] = `${4 * unit} ${3 * unit}`;
    parent.append(element("rect", line, undefined, NS));
  }

  function caption(parent, row, text, colour, unit, image) {
    const size = 11 * unit;
    const y = row[1] > size * 1.2 ? row[1] - 3 * unit : Math.min(row[3], image.h) - 3 * unit;
    parent.append(element("text", { x: Math.max(2 * unit, Math.min(row[0], image.w - size * 3)), y,
      style: `font-size:${size}px;fill:${colour};paint-order:stroke;stroke:#000;`
        + `stroke-width:${3 * unit}px;font-weight:600` }, text, NS));
  }

  function picture(image, large) {
    const drawing = element("svg", { viewBox: `0 0 ${image.w} ${image.h}`, class: "picture",
      role: "img", "aria-label": `${image.name}: ${words(image)}` }, undefined, NS);
    drawing.append(element("image", { width: image.w, height: image.h,
      preserveAspectRatio: "none", href: `data:image/jpeg;base64,${image.jpeg}` }, undefined, NS));
    const unit = Math.max(image.w, image.h) / (large ? 900 : 260);
    const label = by("class").value === ALL ? null : Number(by("class").value);
    const ofClass = (row) => label === null || row[4] === label;
    if (by("truth").checked)
      for (const row of image.truth.filter(ofClass))
        box(drawing, row, isMissed(row) ? "#ffffff" : "#c8ffd8", true, unit);
    if (by("found").checked)
      for (const row of kept(image).filter(ofClass).sort((a, b) => a[5] - b[5])) {
        box(drawing, row, data.colours[row[4]], false, unit);
        if (large) {
          const kind = kindOf(row) === RIGHT ? "" : ` · ${data.words[kindOf(row)]}`;
          caption(drawing, row, `${data.classes[row[4]]} ${row[5].toFixed(2)}${kind}`,
            "#fff", unit, image);
        }
      }
    if (large && by("truth").checked)
      for (const row of image.truth.filter(ofClass))
        if (isMissed(row)) caption(drawing, row, `missed: ${data.classes[row[4]]}`, "#fff", unit, image);
    return drawing;
  }

  function more() {
    const list = by("gallery");
    for (const number of state.shown.slice(state.drawn, state.drawn + PAGE)) {
      const image = data.images[number];
      const button = element("button", { type: "button" });
      button.append(picture(image, false));
      button.append(element("span", { class: "name" }, image.name));
      button.append(element("span", { class: "errors" }, words(image)));
      const place = state.drawn;
      button.addEventListener("click", () => open(place));
      const item = element("li");
      item.append(button);
      list.append(item);
      state.drawn += 1;
    }
    by("more").hidden = state.drawn >= state.shown.length;
  }

  function refresh() {
    const order = by("order").value;
    const rank = data.images.map((image) => [errors(image), highest(image)]);
    state.shown = data.images.map((_, i) => i).filter((i) => matches(data.images[i]));
    if (order === "worst")
      state.shown.sort((a, b) => rank[b][0] - rank[a][0] || rank[b][1] - rank[a][1] || a - b);
    if (order === "sure")
      state.shown.sort((a, b) => rank[b][1] - rank[a][1] || a - b);
    state.drawn = 0;
    by("gallery").replaceChildren();
    by("count").textContent = `${state.shown.length.toLocaleString("en")} of `
      + `${data.images.length.toLocaleString("en")} images`;
    more();
  }

  function details(image) {
    const table = element("table");
    const head = element("tr");
    for (const name of ["class", "score", "result"])
      head.append(element("th", name === "score" ? {} : { class: "left" }, name));
    table.append(head);
    for (const row of kept(image).sort((a, b) => b[5] - a[5])) {
      const line = element("tr");
      line.append(element("td", { class: "left" }, data.classes[row[4]]));
      line.append(element("td", {}, row[5].toFixed(3)));
      line.append(element("td", { class: "left" }, data.words[kindOf(row)] || kindOf(row)));
      table.append(line);
    }
    for (const row of image.truth.filter(isMissed)) {
      const line = element("tr");
      line.append(element("td", { class: "left" }, data.classes[row[4]]));
      line.append(element("td", {}, row[5] < 0 ? "–" : row[5].toFixed(3)));
      line.append(element("td", { class: "left" }, "missed"));
      table.append(line);
    }
    return table;
  }

  function open(place) {
    if (place < 0 || place >= state.shown.length) return;
    state.open = place;
    const image = data.images[state.shown[place]];
    by("large").replaceChildren(picture(image, true), details(image));
    by("title").textContent = `${image.name} (${place + 1} of ${state.shown.length})`;
    by("before").disabled = place === 0;
    by("after").disabled = place === state.shown.length - 1;
    if (!by("view").open) by("view").showModal();
  }

  for (const id of ["class", "kind", "score", "order", "truth", "found"])
    by(id).addEventListener("change", refresh);
  by("more").addEventListener("click", more);
  by("before").addEventListener("click", () => open(state.open - 1));
  by("after").addEventListener("click", () => open(state.open + 1));
  by("close").addEventListener("click", () => by("view").close());
  by("view").addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") open(state.open - 1);
    if (event.key === "ArrowRight") open(state.open + 1);
  });
  by("view").addEventListener("close", () => {
    const buttons = by("gallery").querySelectorAll("button");
    if (buttons[state.open]) buttons[state.open].focus();
  });
  refresh();
})();
