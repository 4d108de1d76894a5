// The tokens as a terminal's colours, in the theme that is on.
import type { ITheme } from "@xterm/xterm";

const COLORS = {
  background: "--sunken", foreground: "--text", cursor: "--accent", cursorAccent: "--on-accent",
  selectionBackground: "--selection", selectionInactiveBackground: "--selection",
  scrollbarSliderBackground: "--line", scrollbarSliderHoverBackground: "--line-strong", scrollbarSliderActiveBackground: "--line-strong",
  black: "--ansi-black", red: "--bad", green: "--good", yellow: "--ask", blue: "--busy", magenta: "--magenta", cyan: "--cyan", white: "--soft",
  brightBlack: "--faint", brightRed: "--bad", brightGreen: "--good", brightYellow: "--ask", brightBlue: "--busy", brightMagenta: "--magenta", brightCyan: "--cyan", brightWhite: "--text",
} as const satisfies { [name in keyof ITheme]?: string };

export function theme(of: HTMLElement): ITheme {
  const before = of.style.color;
  const colors = Object.fromEntries(
    Object.entries(COLORS).map(([name, token]) => {
      // A custom property is text; a colour property computes it for the theme.
      of.style.color = `var(${token})`;
      return [name, getComputedStyle(of).color];
    }),
  );
  of.style.color = before;
  return colors;
}

/** Tells when it became another one. */
export function onTheme(changed: () => void): () => void {
  const media = matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  media.addEventListener("change", changed);
  return () => {
    observer.disconnect();
    media.removeEventListener("change", changed);
  };
}
