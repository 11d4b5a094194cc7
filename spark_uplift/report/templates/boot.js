// First on the page, so that a fault anywhere later is kept where a person or a test can see it.
(function () {
  "use strict";
  var root = document.documentElement;
  root.classList.add("js");
  function note(text) {
    root.setAttribute("data-errors", ((root.getAttribute("data-errors") || "") + " " + text).trim());
  }
  window.addEventListener("error", function (event) { note(String(event.message)); });
  window.addEventListener("unhandledrejection", function (event) { note(String(event.reason)); });
  document.addEventListener("securitypolicyviolation", function (event) {
    note("blocked " + event.violatedDirective + " " + event.blockedURI);
  });
})();
