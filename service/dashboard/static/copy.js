// Copies a text, or helps a person to.

/**
 * Puts a text into the clipboard. Without HTTPS a browser has none for pages of another machine: then
 * `select` marks the text. `said` tells which of the two it was.
 */
export async function copy(text, select, said) {
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "Copied.";
  } catch {
    select();
    said.textContent = "It is selected: copy it with your keyboard.";
  }
}
