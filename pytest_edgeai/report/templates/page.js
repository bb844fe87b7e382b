"use strict";
(() => {
  const root = document.documentElement;
  const failed = (error) => { root.dataset.error = `${root.dataset.error ?? ""}${error?.message ?? error}\n`; };
  window.addEventListener("error", (event) => failed(event.message));
  window.addEventListener("unhandledrejection", (event) => failed(event.reason));

  // Tables: a click or a key on a head sorts, one <tbody> a variant; what was not measured stays last.
  const collator = new Intl.Collator("en", { numeric: true });
  const valueOf = (row, column) => row.cells[column]?.dataset.sort ?? row.cells[column]?.textContent.trim() ?? "";
  const compare = (a, b) => (a !== "" && b !== "" && isFinite(a) && isFinite(b) ? a - b : collator.compare(a, b));

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      const sign = order === "ascending" ? 1 : -1;
      const groups = [...table.tBodies];
      groups.sort((one, other) => {
        const [a, b] = [valueOf(one.rows[0], column), valueOf(other.rows[0], column)];
        return (a === "") - (b === "") || sign * compare(a, b);
      });
      table.append(...groups);
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? order : "none"));
    }));
  }

  // Verdicts: show one outcome, open all, and open the one that a link leads to.
  const verdicts = [...document.querySelectorAll("details.verdict")];
  for (const filter of document.querySelectorAll(".filter")) {
    filter.hidden = false;
    const buttons = [...filter.querySelectorAll("[data-show]")];
    const show = (wanted) => {
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.show === wanted)));
      verdicts.forEach((verdict) => { verdict.hidden = wanted !== "" && verdict.dataset.outcome !== wanted; });
      document.querySelectorAll(".test").forEach((test) => { test.hidden = !test.querySelector(".verdict:not([hidden])"); });
    };
    buttons.forEach((button) => button.addEventListener("click", () => show(button.dataset.show)));
    filter.querySelector("[data-open]").addEventListener("click", (event) => {
      const open = event.currentTarget.dataset.open === "true";
      verdicts.forEach((verdict) => { verdict.open = open; });
      event.currentTarget.dataset.open = String(!open);
      event.currentTarget.textContent = open ? "Close all" : "Open all";
    });
    const follow = () => {
      const found = location.hash.startsWith("#verdict-") && document.getElementById(location.hash.slice(1));
      if (found) {
        show("");
        found.open = true;
        found.scrollIntoView();
      }
    };
    window.addEventListener("hashchange", follow);
    follow();
  }

  // Charts.
  const color = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const pen = document.createElement("canvas").getContext("2d");
  const FONT = 12;
  const LINE = 15;
  const CROWD = 14; // with more points than this, only the front, the choice and the baseline are named

  const traces = (chart) => {
    const bars = (points, axis) => ({
      type: "data",
      symmetric: false,
      array: points.map((point) => Math.max(0, point[axis][2] - point[axis][0])),
      arrayminus: points.map((point) => Math.max(0, point[axis][0] - point[axis][1])),
      thickness: 1,
      width: 3,
      color: color(points[0].front ? "soft" : "bar"),
    });
    const groups = new Map();
    for (const point of chart.points) {
      const key = `${point.symbol} ${point.series} ${point.front}`;
      groups.set(key, [...(groups.get(key) ?? []), point]);
    }
    const front = chart.points.filter((point) => point.front).sort((a, b) => a.x[0] - b.x[0]);
    return [
      {
        x: front.map((point) => point.x[0]),
        y: front.map((point) => point.y[0]),
        mode: "lines",
        line: { shape: chart.x.more ? "vh" : "hv", width: 1.5, color: color("soft") },
        hoverinfo: "skip",
      },
      ...[...groups.values()].map((points) => ({
        x: points.map((point) => point.x[0]),
        y: points.map((point) => point.y[0]),
        error_x: bars(points, "x"),
        error_y: bars(points, "y"),
        mode: "markers",
        marker: {
          size: points.map((point) => (point.role === "choice" ? 14 : 10)),
          symbol: points[0].front ? points[0].symbol : `${points[0].symbol}-open`,
          color: color(`series-${points[0].series}`),
          opacity: 1,
          line: points[0].front ? { width: 1, color: color("page") } : { width: 2, color: color(`series-${points[0].series}`) },
        },
        hovertext: points.map((point) => point.hover),
        hoverinfo: "text",
      })),
    ];
  };

  const layout = (chart, print) => {
    const axis = (spec, title) => ({
      title: { text: title, standoff: 8, font: { size: 13 } },
      type: spec.log ? "log" : "linear",
      gridcolor: color("grid"),
      linecolor: color("rule"),
      zeroline: false,
      automargin: true,
      nticks: 7,
      tickfont: { size: FONT, color: color("soft") },
      fixedrange: print || matchMedia("(pointer: coarse)").matches,
    });
    return {
      xaxis: { ...axis(chart.x, chart.x.more ? `${chart.x.title} →` : `← ${chart.x.title}`), rangemode: "tozero" },
      yaxis: { ...axis(chart.y, chart.y.more ? chart.y.title : `${chart.y.title}, less is better`), autorange: chart.y.more ? true : "reversed" },
      showlegend: false,
      hovermode: "closest",
      hoverlabel: { bgcolor: color("raised"), bordercolor: color("rule"), font: { family: getComputedStyle(document.body).fontFamily, color: color("ink"), size: 13 }, align: "left" },
      margin: { l: 48, r: 12, t: 12, b: 40 },
      font: { family: getComputedStyle(document.body).fontFamily, size: FONT, color: color("ink") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
    };
  };

  // Plotly lays labels over each other. Each label takes the place around its point that covers the least of what is there already.
  const overlap = (a, b) => Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left))
    * Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));

  const plain = (text) => text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&#36;/g, "$").replace(/&amp;/g, "&");
  const textOf = (point, room) => {
    const width = (text) => pen.measureText(plain(text)).width;
    const full = [point.label, ...(point.note ? [point.note] : [])];
    if (width(point.label) < room) return full;
    const [, head, rest] = /^([^-]*-)(.*)$/.exec(point.label) ?? [];
    return head ? [head, point.note ? `${rest} ${point.note}` : rest] : full;
  };
  const around = [1, -1, 0.5, -0.5, 0].flatMap((dy) => [1, -1, 0.5, -0.5, 0].map((dx) => [dx, dy]))
    .filter(([dx, dy]) => Math.max(Math.abs(dx), Math.abs(dy)) === 1);

  const labels = (area, chart) => {
    const { xaxis, yaxis } = area._fullLayout;
    const family = getComputedStyle(document.body).fontFamily;
    const rank = (point) => (point.role === "choice" ? 0 : point.role === "baseline" ? 1 : point.front ? 2 : 3);
    const marks = chart.points.map((point) => ({ point, x: xaxis.d2p(point.x[0]), y: yaxis.d2p(point.y[0]) }));
    const line = marks.filter(({ point }) => point.front).sort((a, b) => a.x - b.x);
    const drawn = [
      ...marks.map(({ x, y }) => ({ left: x - 8, right: x + 8, top: y - 8, bottom: y + 8 })),
      ...marks.flatMap(({ point, x, y }) => [
        { left: xaxis.d2p(point.x[1]), right: xaxis.d2p(point.x[2]), top: y - 2, bottom: y + 2 },
        { left: x - 2, right: x + 2, top: Math.min(...point.y.map(yaxis.d2p)), bottom: Math.max(...point.y.map(yaxis.d2p)) },
      ]),
      ...line.slice(1).flatMap((end, i) => [
        { left: line[i].x, right: end.x, top: (chart.x.more ? end : line[i]).y - 2, bottom: (chart.x.more ? end : line[i]).y + 2 },
        { left: (chart.x.more ? line[i] : end).x - 2, right: (chart.x.more ? line[i] : end).x + 2, top: Math.min(line[i].y, end.y), bottom: Math.max(line[i].y, end.y) },
      ]),
    ];
    const taken = [];
    const found = [];
    const named = marks.filter(({ point }) => marks.length <= CROWD || rank(point) < 3);
    for (const { point, x, y } of named.sort((a, b) => rank(a.point) - rank(b.point))) {
      pen.font = `${point.role === "choice" ? 700 : 400} ${FONT}px ${family}`;
      const lines = textOf(point, 0.3 * xaxis._length);
      const width = Math.max(...lines.map((text) => pen.measureText(plain(text)).width)) + 4;
      const height = lines.length * LINE + 2;
      let best = null;
      for (const gap of [10, 22, 38, 60]) {
        for (const [dx, dy] of around) {
          const [cx, cy] = [x + dx * (gap + width / 2), y + dy * (gap + height / 2)];
          const box = { left: cx - width / 2, right: cx + width / 2, top: cy - height / 2, bottom: cy + height / 2 };
          const outside = Math.max(0, -box.left) + Math.max(0, box.right - xaxis._length)
            + Math.max(0, -box.top) + Math.max(0, box.bottom - yaxis._length);
          const covered = taken.reduce((sum, other) => sum + overlap(box, other), 0);
          const cost = 6 * covered + 80 * outside + 2 * drawn.reduce((sum, other) => sum + overlap(box, other), 0)
            + 6 * gap + 20 * (Math.abs(dx) < 1 && Math.abs(dx) > 0) + 20 * (Math.abs(dy) < 1 && Math.abs(dy) > 0);
          if (!best || cost < best.cost) best = { cost, covered, outside, cx, cy, box, gap };
        }
      }
      if ((best.covered > 0.1 * width * height || best.outside > 4) && rank(point) > 1) continue;
      taken.push(best.box);
      found.push({
        x: chart.x.log ? Math.log10(point.x[0]) : point.x[0],
        y: chart.y.log ? Math.log10(point.y[0]) : point.y[0],
        ax: best.cx - x,
        ay: best.cy - y,
        text: point.role === "choice" ? `<b>${lines.join("<br>")}</b>` : lines.join("<br>"),
        align: "center",
        showarrow: true,
        arrowhead: 0,
        arrowwidth: 1,
        arrowcolor: best.gap > 10 ? color("soft") : "rgba(0,0,0,0)",
        standoff: 7,
        borderpad: 0,
        bgcolor: color("label"),
        font: { size: FONT, color: point.front || point.role !== "variant" ? color("ink") : color("soft") },
        captureevents: false,
      });
    }
    return found;
  };

  // Stages: what each one takes away, or adds, from the first to what is shipped.
  const waterfall = (chart) => [{
    type: "bar",
    x: chart.steps.map((step) => step.label),
    base: chart.steps.map((step) => Math.min(step.from, step.to)),
    y: chart.steps.map((step) => Math.abs(step.to - step.from)),
    width: 0.6,
    marker: {
      color: chart.steps.map((step) => color(step.from === 0 ? "series-0" : step.to <= step.from ? "pass" : "fail")),
    },
    text: chart.steps.map((step) => String(Number(step.to.toPrecision(3)))),
    textposition: "outside",
    cliponaxis: false,
    textfont: { color: color("ink"), size: FONT },
    hovertext: chart.steps.map((step) => step.hover),
    hoverinfo: "text",
  }];
  const waterfallLayout = (chart, print) => {
    const { hoverlabel, font, paper_bgcolor, plot_bgcolor, yaxis } = layout({ x: {}, y: { title: chart.y.title, more: true } }, print);
    return {
      hoverlabel, font, paper_bgcolor, plot_bgcolor,
      yaxis: { ...yaxis, rangemode: "tozero" },
      xaxis: { type: "category", automargin: true, fixedrange: true, linecolor: color("rule"), tickfont: { size: FONT, color: color("ink") } },
      margin: { l: 48, r: 12, t: 24, b: 40 },
      showlegend: false,
    };
  };

  const draw = async (area, chart, print) => {
    const config = {
      displaylogo: false,
      displayModeBar: false,
      responsive: false,
      scrollZoom: false,
      staticPlot: print,
      plotlyServerURL: "",
    };
    if (!print) area.querySelector(".waiting")?.remove();
    if (chart.steps) {
      await window.Plotly.react(area, waterfall(chart), waterfallLayout(chart, print), config);
      return;
    }
    await window.Plotly.react(area, traces(chart), layout(chart, print), config);
    await window.Plotly.relayout(area, { annotations: labels(area, chart) });
  };

  const unpack = async (packed) => {
    const bytes = Uint8Array.from(atob(packed.trim()), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };

  const start = async () => {
    const source = document.getElementById("charts");
    if (source) {
      const script = document.createElement("script");
      script.textContent = await unpack(document.getElementById("plotly").textContent);
      document.head.append(script);
      const charts = Object.entries(JSON.parse(source.textContent)).map(([id, chart]) => [document.getElementById(id), chart]);
      const drawAll = (print) => Promise.all(charts.map(([area, chart]) => draw(area, chart, print)));
      await drawAll(false);
      let width = root.clientWidth;
      let waiting = 0;
      new ResizeObserver(() => {
        if (root.clientWidth === width) return;
        width = root.clientWidth;
        clearTimeout(waiting);
        waiting = setTimeout(() => drawAll(matchMedia("print").matches).catch(failed), 150);
      }).observe(root);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(false).catch(failed));
      matchMedia("print").addEventListener("change", (event) => drawAll(event.matches).catch(failed));
    }
  };

  start().catch(failed).finally(() => { root.dataset.ready = "true"; });
})();
