// Paths on a machine, as one walks through them.

/** Where one is when no path was named: the folder the machine offers. */
export const HOME = ".";

/** The path in the folder that is offered, as short as it can be said. */
export function tidy(path: string, offered: string | undefined): string {
  let short = path.trim().replace(/\/+/g, "/");
  if (offered && (short === offered || short.startsWith(`${offered}/`))) short = short.slice(offered.length + 1);
  short = short.replace(/^(\.\/)+/, "").replace(/(.)\/$/, "$1");
  return short || HOME;
}

export const within = (folder: string, name: string) => (folder === HOME ? name : `${folder === "/" ? "" : folder}/${name}`);

/** The folder something is in. */
export function above(path: string): string {
  const cut = path.lastIndexOf("/");
  return cut < 0 ? HOME : cut === 0 ? "/" : path.slice(0, cut);
}

/** Each folder on the way, with its name. */
export function crumbs(path: string): { name: string; path: string }[] {
  if (path === HOME) return [];
  const parts = path.split("/");
  return parts.map((name, at) => ({ name, path: parts.slice(0, at + 1).join("/") || "/" })).filter((one) => one.name);
}
