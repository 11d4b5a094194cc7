// Draws the charts from the embedded data, in the reader's colours, and answers the planner. No network, no state.
(function () {
  "use strict";
  var root = document.documentElement;
  var data = JSON.parse(document.getElementById("report-data").textContent);
  var night = window.matchMedia("(prefers-color-scheme: dark)");
  var CONFIG = { displayModeBar: false, responsive: true, displaylogo: false };
  var NARROW = 480;
  var NARROW_TICKS = 5;
  var PRINT_WIDTH = 690;
  var PRINT_GAP = 16;
  var PRINT_FONT = 9;

  // Figures carry the light theme's colours; the dark ones replace them by value, transparency kept.
  function tinted(node, dark) {
    if (typeof node === "string") {
      var swap = dark && node.charAt(0) === "#" && data.dark[node.slice(0, 7).toLowerCase()];
      return swap ? swap + node.slice(7) : node;
    }
    if (Array.isArray(node)) { return node.map(function (item) { return tinted(item, dark); }); }
    if (node && typeof node === "object") {
      return Object.keys(node).reduce(function (copy, key) { copy[key] = tinted(node[key], dark); return copy; }, {});
    }
    return node;
  }

  function drawAll(dark, widthOf) {
    return Promise.all(Object.keys(data.figures).map(function (id) {
      var box = document.getElementById(id);
      if (!box) { return null; }
      var figure = tinted(data.figures[id], dark);
      if (widthOf) { forPaper(figure.layout, widthOf(box)); }
      else if (box.clientWidth < NARROW) { fewTicks(figure.layout.xaxis); }
      return Plotly.react(box, figure.data, figure.layout, CONFIG);
    }));
  }

  // Numbers side by side run into each other on a phone.
  function fewTicks(axis) {
    if (!axis.tickvals) { axis.nticks = Math.min(axis.nticks || NARROW_TICKS, NARROW_TICKS); }
  }

  function forPaper(layout, width) {
    layout.width = width;
    layout.autosize = false;
    [layout.xaxis, layout.yaxis].forEach(function (axis) {
      axis.tickfont.size = PRINT_FONT;
      axis.title.font.size = PRINT_FONT;
    });
  }

  function printWidth(box) {
    var grid = box.closest(".figures");
    var columns = grid.classList.contains("cols-3") ? 3 : grid.classList.contains("cols-2") ? 2 : 1;
    return (PRINT_WIDTH - PRINT_GAP * (columns - 1)) / columns;
  }

  function onScreen() {
    return drawAll(night.matches, null).then(function () { root.setAttribute("data-charts", "drawn"); });
  }

  function planner() {
    var step = document.getElementById("planner-step");
    if (!step) { return; }
    var arm = document.getElementById("planner-arm");
    function put(id, text) { document.getElementById(id).textContent = text; }
    function show() {
      var rows = data.planner[Number(arm.value)];
      step.max = rows.length - 1;
      var row = rows[Number(step.value)];
      var all = rows[rows.length - 1];
      put("planner-share", row.share);
      put("planner-effect", row.effect);
      put("planner-interval", row.interval);
      put("planner-total", row.total);
      put("planner-everybody", all.effect);
      put("planner-everybody-interval", all.interval);
      step.setAttribute("aria-valuetext", row.share);
    }
    arm.addEventListener("change", show);
    step.addEventListener("input", show);
    show();
  }

  // A page opened from a file may have no clipboard; the text is then selected, so that Ctrl-C takes it.
  function copyButtons() {
    Array.prototype.forEach.call(document.querySelectorAll("button[data-copy]"), function (button) {
      button.addEventListener("click", function () {
        var source = document.getElementById(button.getAttribute("data-copy"));
        function say(text) {
          button.textContent = text;
          setTimeout(function () { button.textContent = "Copy"; }, 2000);
        }
        function select() {
          var selection = window.getSelection();
          selection.removeAllRanges();
          var range = document.createRange();
          range.selectNodeContents(source);
          selection.addRange(range);
          say("Selected");
        }
        if (!navigator.clipboard) { select(); return; }
        navigator.clipboard.writeText(source.textContent).then(function () { say("Copied"); }, select);
      });
    });
  }

  var opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (box) { box.open = true; });
    drawAll(false, printWidth);
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (box) { box.open = false; });
    onScreen();
  });
  night.addEventListener("change", onScreen);
  planner();
  copyButtons();
  onScreen();
})();
