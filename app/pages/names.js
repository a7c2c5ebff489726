/** How names of files are shown: what changes the look of a text without being seen is made visible. */

// Marks of direction, zero-width and control characters; first what is left alone: the joiner within an emoji.
const UNSEEN =
  /(\p{Extended_Pictographic}[\ufe0f\u{1f3fb}-\u{1f3ff}]*\u200d)|[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;
const EDGE = /(^|\/)( +)|( +)(?=\/|$)/g; // spaces at the ends of a name, or of a folder's

/** @param {string} name @returns {string} it, with "⟨U+202E⟩" for what cannot be seen, and "␣" for a space at an end */
export function shown(name) {
  return name
    .replace(UNSEEN, (character, emoji) => emoji ?? codePoint(character))
    .replace(EDGE, (_, before = "", leading = "", trailing = "") => before + "␣".repeat((leading + trailing).length));
}

const codePoint = (character) => `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
