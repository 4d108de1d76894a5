// xterm writes styles as `<style>` and `style="…"`, which the policy of these pages forbids (INVARIANTS S24). The same styles are
// allowed through the object model: while a terminal is shown, what it makes takes that way instead.

const make = Document.prototype.createElement;
let shown = 0;

function setAttribute(this: HTMLElement, name: string, value: string) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
}

/** Stands in the document for a style sheet that is none of its elements. */
function sheet(document: Document): HTMLElement {
  const styles = new CSSStyleSheet();
  const element = make.call(document, "span");
  element.hidden = true;
  document.adoptedStyleSheets.push(styles);
  Object.defineProperty(element, "textContent", { set: (css: string) => styles.replaceSync(css) });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== styles);
    Element.prototype.remove.call(element);
  };
  return element;
}

function createElement(this: Document, name: string, options?: ElementCreationOptions): HTMLElement {
  if (name === "style") return sheet(this);
  const element = make.call(this, name, options);
  if (name === "span") element.setAttribute = setAttribute;
  return element;
}

/** From now until what it returns is called. */
export function lawful(): () => void {
  shown += 1;
  document.createElement = createElement as typeof document.createElement;
  return () => {
    shown -= 1;
    // What is left is the prototype's.
    if (shown === 0) delete (document as Partial<Document>).createElement;
  };
}
