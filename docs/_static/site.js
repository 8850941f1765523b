// What the theme leaves nameless or out of the keyboard's reach.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("summary")) {
    if (!summary.textContent.trim()) summary.setAttribute("aria-label", "Pages of this part");
    else summary.removeAttribute("aria-label");
  }
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
  for (const box of document.querySelectorAll(".bd-article table, .bd-article pre, .output.text_html, .bd-article math"))
    if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
});
