// The section "Step by step": what the slider, the order and the sample choose is drawn.
(() => {
  const data = JSON.parse(document.getElementById("steps-data").textContent);
  const part = (name) => document.getElementById(`steps-${name}`);
  const [section, order, sample, slider, now, panels, chart] =
    ["section", "order", "sample", "slider", "now", "panels", "chart"].map(part);
  const DASHES = { "--": "8 5", "-.": "8 4 2 4", ":": "2 4" };
  const TRUTH = "#56B4E9", START = "#F0E442";
  const last = Math.max(...data.samples[0].descents.map(({ errors }) => errors.length)) - 1;
  const text = (value) => (value === null ? "not finite" : String(Number(value.toPrecision(3))));
  const final = (shown, family) => shown.descents[family].errors.at(-1) ?? Infinity;

  const html = (name, content, attributes = {}) => {
    const made = document.createElement(name);
    made.textContent = content;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const svg = (name, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  // Points of flat numbers, column after row; one that is not known is left out.
  const pairs = (flat) =>
    flat.flatMap((value, place) => (place % 2 ? [] : [[value, flat[place + 1]]]));
  const lines = (points, color) =>
    data.edges.map((edge) => edge.map((place) => points[place]))
      .filter((ends) => ends.every((end) => end && end[0] !== null))
      .map(([a, b]) =>
        svg("line", { x1: a[0], y1: a[1], x2: b[0], y2: b[1], stroke: color, "stroke-width": 5 }));
  const dots = (points, color) =>
    points.filter((point) => point[0] !== null).map(([cx, cy]) =>
      svg("circle", { cx, cy, r: points.length > 30 ? 9 : 13, fill: color, stroke: "#000", "stroke-width": 2 }));

  const picture = (shown, descent, step, family) => {
    const truth = pairs(shown.truth), points = pairs(descent.x[step]);
    const color = step ? family.color : START;
    const trails = pairs(descent.x[0]).map((_, place) => {
      const path = descent.x.slice(0, step + 1).map((x) => x.slice(2 * place, 2 * place + 2));
      return svg("polyline", { points: path.filter((point) => point[0] !== null).join(" "), class: "trail" });
    });
    return svg(
      "svg",
      { viewBox: "0 0 1000 1000", role: "img", "aria-label": `${shown.name}, ${family.name}, step ${step}` },
      svg("image", { href: shown.picture, width: 1000, height: 1000 }),
      ...lines(truth, TRUTH), ...dots(truth, TRUTH), ...trails, ...lines(points, color), ...dots(points, color),
    );
  };

  const table = (shown, descent, step, family) => {
    const made = html("table", "", { "aria-label": `${shown.name}, ${family.name}, step ${step}` });
    const row = made.createTHead().insertRow();
    for (const title of ["", "x", "truth"]) row.append(html("th", title, { scope: "col" }));
    const body = made.createTBody();
    descent.x[step].forEach((value, place) => {
      const cells = body.insertRow();
      cells.append(html("th", place, { scope: "row" }), html("td", text(value)), html("td", text(shown.truth[place])));
    });
    return made;
  };

  const curves = (shown, step) => {
    const errors = shown.descents.flatMap((descent) => descent.errors).filter((error) => error !== null);
    const most = Math.max(...errors, 1e-12), least = Math.max(Math.min(...errors), most * 1e-6);
    const wide = most / least > 50; // then each tenth has the same height
    const height = (error) =>
      10 + 130 * (wide ? Math.log(most / Math.max(error, least)) / Math.log(most / least) : 1 - error / most);
    const across = (place) => 60 + (530 * place) / Math.max(last, 1);
    const marks = shown.descents.flatMap(({ errors }, place) => {
      const { color, dashes } = data.families[place];
      const path = errors.map((error, at) => (error === null ? null : [across(at), height(error)]));
      const known = path[Math.min(step, path.length - 1)];
      return [
        svg("polyline", { points: path.filter(Boolean).join(" "), fill: "none", stroke: color, "stroke-width": 2.5,
          "stroke-dasharray": DASHES[dashes] ?? "none" }),
        ...(known ? [svg("circle", { cx: known[0], cy: known[1], r: 5, fill: color })] : []),
      ];
    });
    const label = (x, y, content, anchor) => svg("text", { x, y, "text-anchor": anchor }, content);
    chart.replaceChildren(
      svg("line", { x1: across(step), x2: across(step), y1: 5, y2: 140, class: "trail" }),
      svg("line", { x1: 60, x2: 590, y1: 140, y2: 140, class: "axis" }),
      ...marks,
      label(54, 15, text(most), "end"), label(54, 143, wide ? text(least) : "0", "end"),
      label(60, 158, "start", "middle"), label(590, 158, `step ${last}`, "end"),
    );
  };

  const draw = () => {
    const shown = data.samples[Number(sample.value)], step = Number(slider.value);
    const said = [];
    panels.replaceChildren(...data.families.map((family, place) => {
      const descent = shown.descents[place], own = Math.min(step, descent.errors.length - 1);
      const error = descent.errors[own], failed = error === null || error > data.failure_above;
      said.push(`${family.name} ${text(error)}`);
      const figure = html("figure", "", { style: `border-top-color: ${family.color}` });
      const caption = html("figcaption", "");
      caption.append(html("strong", family.name), ` step ${own}: ${text(error)}${failed ? " (failure)" : ""}`);
      figure.append(caption, (shown.picture ? picture : table)(shown, descent, own, family));
      return figure;
    }));
    now.textContent = `${step} of ${last}`;
    slider.setAttribute("aria-valuetext", `step ${step} of ${last}: ${said.join(", ")}`);
    curves(shown, step);
  };

  const sort = () => {
    const [family, sign] = order.value.split(" ").map(Number);
    const error = (place) => final(data.samples[place], family);
    const places = data.samples.map((_, place) => place);
    places.sort((a, b) => (error(a) === error(b) ? a - b : sign * (error(a) - error(b))));
    sample.replaceChildren(...places.map((place) =>
      html("option", `${data.samples[place].name}: ${text(data.samples[place].descents[family].errors.at(-1))}`, { value: place })));
    draw();
  };
  const move = (by) => {
    const count = data.samples.length;
    sample.selectedIndex = (sample.selectedIndex + by + count) % count;
    draw();
  };

  data.families.forEach(({ name }, place) =>
    order.append(
      html("option", `error of ${name}, largest first`, { value: `${place} -1` }),
      html("option", `error of ${name}, smallest first`, { value: `${place} 1` }),
    ));
  slider.max = last;
  slider.value = last;
  order.addEventListener("change", sort);
  sample.addEventListener("change", draw);
  slider.addEventListener("input", draw);
  part("previous").addEventListener("click", () => move(-1));
  part("next").addEventListener("click", () => move(1));
  section.hidden = false;
  sort();
})();
