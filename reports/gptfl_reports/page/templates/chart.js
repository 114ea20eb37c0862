"use strict";
// Charts of learning curves, drawn by uPlot from data in the page. The names below a chart choose what is
// drawn; without this script the figure beside it shows the same.
(() => {
  const AXES = { rounds: "round", bytes: "bytes sent, both directions", scalars: "scalars sent, both directions" };
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function scaled(value) {
    const units = ["", " k", " M", " G", " T"];
    let step = 0;
    while (Math.abs(value) >= 1000 && step < units.length - 1) {
      value /= 1000;
      step += 1;
    }
    return `${Number(value.toPrecision(3))}${units[step]}`;
  }

  class Chart {
    constructor(place) {
      this.place = place;
      this.content = JSON.parse(place.querySelector("script").textContent);
      this.plot = place.querySelector(".plot");
      this.tip = place.querySelector(".tip");
      this.x = "rounds";
      this.log = false;
      this.off = new Set();
      for (const button of place.querySelectorAll("[data-series]")) {
        button.addEventListener("click", () => this.isolate(button.dataset.series));
      }
      for (const button of place.querySelectorAll("[data-group]")) {
        button.addEventListener("click", () => this.toggle(button.dataset.group));
      }
      place.querySelector("select").addEventListener("change", (event) => {
        this.x = event.target.value;
        this.draw();
      });
      place.querySelector("input[type=checkbox]").addEventListener("change", (event) => {
        this.log = event.target.checked;
        this.draw();
      });
      this.seen = 0;
      new ResizeObserver(() => {
        if (this.plot.clientWidth !== this.seen) this.draw();
      }).observe(this.plot);
    }

    // A second click on the only name that is on brings all back.
    isolate(name) {
      const others = this.content.series.map((one) => one.name).filter((other) => other !== name);
      const alone = !this.off.has(name) && others.every((other) => this.off.has(other));
      this.off = new Set(alone ? [] : others);
      this.draw();
    }

    toggle(group) {
      const names = this.content.series.filter((one) => one.group === group).map((one) => one.name);
      const on = names.some((name) => !this.off.has(name));
      for (const name of names) on ? this.off.add(name) : this.off.delete(name);
      this.draw();
    }

    // What can be drawn of a curve on the chosen axis: references send nothing, and 0 has no logarithm.
    points(one) {
      const at = one[this.x].map((x, index) => [x, index]).filter(([x]) => !this.log || x > 0);
      const sends = this.x === "rounds" || at.some(([x]) => x > 0);
      return sends ? at.filter(([x], place) => place === 0 || x > at[place - 1][0]) : [];
    }

    draw() {
      this.seen = this.plot.clientWidth;
      if (!this.seen) return;
      this.drawn = this.content.series
        .filter((one) => !this.off.has(one.name))
        .map((one) => ({ one, at: this.points(one) }))
        .filter(({ at }) => at.length);
      for (const button of this.place.querySelectorAll("[data-series]")) {
        button.setAttribute("aria-pressed", !this.off.has(button.dataset.series));
      }
      for (const button of this.place.querySelectorAll("[data-group]")) {
        const members = this.content.series.filter((one) => one.group === button.dataset.group);
        button.setAttribute("aria-pressed", members.some((one) => !this.off.has(one.name)));
      }
      this.tip.hidden = true;
      this.chart?.destroy();
      this.chart = null;
      if (!this.drawn.length) return;
      const tables = this.drawn.map(({ one, at }) => [at.map(([x]) => x), at.map(([, i]) => one.mean[i])]);
      this.chart = new uPlot(this.options(), uPlot.join(tables), this.plot);
    }

    options() {
      const ink = color("--ink");
      const grid = { stroke: color("--line"), width: 1 };
      const axis = { stroke: ink, grid, ticks: grid, labelSize: 22, font: "12px system-ui", labelFont: "12px system-ui" };
      const words = (_, values) => values.map((value) => (value === null ? "" : scaled(value)));
      return {
        width: this.seen,
        height: Math.round(Math.min(420, Math.max(260, this.seen * 0.42))),
        legend: { show: false },
        focus: { alpha: 0.25 },
        scales: { x: { time: false, distr: this.log ? 3 : 1 } },
        series: [
          {},
          ...this.drawn.map(({ one, at }) => ({
            label: one.name,
            stroke: one.color,
            width: 2,
            dash: one.dash,
            spanGaps: true,
            points: { show: at.length === 1 },
          })),
        ],
        axes: [
          { ...axis, label: AXES[this.x], values: words },
          { ...axis, label: this.content.metric, size: 46 },
        ],
        cursor: { focus: { prox: 24 }, points: { size: 7 }, dataIdx: nearest, drag: { x: true, y: false } },
        hooks: {
          setSeries: [(plot, index) => this.say(plot, index)],
          setCursor: [(plot) => this.say(plot, this.focused)],
          draw: [(plot) => this.line(plot)],
        },
      };
    }

    // The target is a line across.
    line(plot) {
      const target = this.content.target;
      if (target === null || target < plot.scales.y.min || target > plot.scales.y.max) return;
      const y = Math.round(plot.valToPos(target, "y", true));
      const { ctx, bbox } = plot;
      ctx.save();
      ctx.strokeStyle = color("--soft");
      ctx.setLineDash([4, 4]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.restore();
    }

    // What is nearest to the mouse, in words.
    say(plot, index) {
      this.focused = index;
      const place = index ? plot.cursor.idxs[index] : null;
      this.tip.hidden = place === null || place === undefined;
      if (this.tip.hidden) return;
      const { one } = this.drawn[index - 1];
      const x = plot.data[0][place];
      const i = one[this.x].indexOf(x);
      const spread = one.sd[i] === null ? "one seed" : `± ${one.sd[i].toFixed(2)}, ${one.n[i]} seeds`;
      const where = this.x === "rounds" ? `round ${x}` : `round ${one.rounds[i]}, ${scaled(x)} ${this.x}`;
      this.tip.textContent = `${one.name}, ${where}: ${one.mean[i].toFixed(2)} (${spread})`;
      const left = plot.valToPos(x, "x") + plot.over.offsetLeft;
      const top = plot.valToPos(one.mean[i], "y") + plot.over.offsetTop;
      this.tip.style.left = `${Math.min(left + 12, this.seen - this.tip.offsetWidth)}px`;
      this.tip.style.top = `${Math.max(top - 34, 0)}px`;
    }
  }

  // Curves have points at different places; the nearest one that a curve has counts.
  function nearest(plot, series, index) {
    const values = plot.data[series];
    if (series === 0 || (values[index] !== null && values[index] !== undefined)) return index;
    const there = (at) => values[at] !== null && values[at] !== undefined;
    for (let reach = 1; reach < values.length; reach += 1) {
      if (there(index - reach)) return index - reach;
      if (there(index + reach)) return index + reach;
    }
    return null;
  }

  const charts = [];
  // Drawn when it comes into sight: a page of many tasks has many.
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      charts.push(new Chart(target));
    }
  }, { rootMargin: "400px" });
  for (const place of document.querySelectorAll(".chart")) {
    place.hidden = false;
    watch.observe(place);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const chart of charts) chart.draw();
  });
})();
