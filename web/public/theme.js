// Before anything is painted: the theme that a person chose. Without one, the system's holds.
try {
  const theme = localStorage.getItem("tidewire.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  /* Storage may be forbidden; then the system's theme holds. */
}
