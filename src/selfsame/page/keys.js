// Keys of the tab Label: a letter does what the button with it does, but not while somebody types.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !event.target.closest) return;
  const at = event.target;
  if (at.closest("input, textarea, select, [contenteditable=true], [role=listbox]")) return;
  if (event.key === "Enter" && at.closest("button, a, summary, [tabindex='0']")) return;
  const names = { 1: "label-first", 2: "label-second", 0: "label-tie", 9: "label-bad", b: "label-bad", Enter: "label-next" };
  const button = document.getElementById(names[event.key]);
  if (!button || button.offsetParent === null || button.disabled) return;
  event.preventDefault();
  if (at.closest("button")) at.blur(); // so that Enter then means the next question
  button.click();
});
document.documentElement.lang = "en";
