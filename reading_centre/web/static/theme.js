/* Dark or light, before the page is drawn. Dark is the default for reading images. */
(() => {
  const root = document.documentElement;
  root.dataset.theme = localStorage.getItem("theme") ?? "dark";
  const toggle = () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  };
  addEventListener("toggletheme", toggle);
  addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("[data-theme-switch]")) button.addEventListener("click", toggle);
  });
})();
