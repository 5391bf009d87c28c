// Light or dark: what the reader's system has, until the button at the top says otherwise; that is kept.

function startTheme() {
  const root = document.documentElement;
  const kept = (() => {
    try { return localStorage.getItem("diffnas-theme"); } catch { return null; }
  })();
  if (kept) root.dataset.theme = kept;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("diffnas-theme", root.dataset.theme); } catch { /* a page opened from a file may keep nothing */ }
  });
}

startTheme();
