"use strict";

const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const touch = window.matchMedia("(pointer: coarse)").matches;

// Figures name their colours as CSS variables, so that one stylesheet rules both page and charts.
function painted(value, styles, key = "") {
  if (typeof value === "string") {
    const name = /color$|colorscale$/.test(key) && /^var\((--[\w-]+)\)$/.exec(value);
    return name ? styles.getPropertyValue(name[1]).trim() : value;
  }
  if (Array.isArray(value)) {
    return /color$|colorscale$/.test(key) ? value.map((inner) => painted(inner, styles, key)) : value;
  }
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, painted(inner, styles, name)]));
}

function draw(chart) {
  const figure = figures[chart.dataset.chart];
  const styles = getComputedStyle(document.documentElement);
  const data = figure.data.map((trace) => painted(trace, styles));
  const layout = painted(figure.layout, styles);
  if (chart.clientWidth < 560 && figure.data.length > 8) layout.showlegend = false; // it would cover the chart
  if (touch) layout.dragmode = false; // a finger on a chart scrolls the page
  return Plotly.react(chart, data, layout, {
    responsive: true,
    displaylogo: false,
    displayModeBar: false, // drag to zoom, double-click to return
  });
}

const charts = [...document.querySelectorAll("[data-chart]")];
const drawAll = () => charts.forEach(draw);

for (const input of document.querySelectorAll(".switch input")) {
  input.addEventListener("change", () => {
    const chart = input.closest("section").querySelector("[data-chart]");
    chart.dataset.chart = input.value;
    Plotly.purge(chart); // another axis starts with its own range
    draw(chart);
  });
}

// Paper is white, whatever the screen was.
function printing(on) {
  document.documentElement.classList.toggle("printing", on);
  drawAll();
}
window.addEventListener("beforeprint", () => printing(true));
window.addEventListener("afterprint", () => printing(false));
dark.addEventListener("change", drawAll);

// Sorting: by the bare figure behind each cell; what is unknown stays at the end, whichever way.
function key(row, column) {
  const text = row.children[column].dataset.key;
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sortBy(heading) {
  const column = heading.cellIndex;
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = heading.closest("table").tBodies[0]; // failed runs have a body of their own and stay below
  const rows = [...body.rows].sort((a, b) => compare(key(a, column), key(b, column), up ? 1 : -1));
  body.append(...rows);
}

for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => sortBy(button.parentElement));
}

drawAll();
