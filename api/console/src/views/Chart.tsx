// Bars over days, drawn by uPlot; beside it the same numbers are a table, which is what a screen reader gets.
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export default function Chart({ days, series, format }: { days: number[]; series: { label: string; values: number[]; color: string }[]; format: (value: number) => string }) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    // Colours are tokens: resolved here, and again when the theme changes.
    const probe = document.createElement("span");
    element.append(probe);
    const color = (name: string) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    // Where nobody points at a day, the newest is what one wants to know.
    const newest = (plot: uPlot) => plot.setLegend({ idx: days.length - 1 });
    const draw = () => {
      const axis = { stroke: color("--faint"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font };
      return new uPlot(
        {
          width: element.clientWidth,
          height: 240,
          hooks: { ready: [newest], setCursor: [(plot) => { if (plot.cursor.idx == null) newest(plot); }] },
          cursor: { y: false, points: { show: false } },
          scales: { x: { range: (_, from, to) => [from - 43_200, to + 43_200] }, y: { range: (_, __, to) => [0, Math.max(1, to * 1.1)] } },
          axes: [
            { ...axis, grid: { show: false }, values: (_, splits) => splits.map((at) => (at % 86_400 === 0 ? new Date(at * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }) : "")), incrs: [86_400, 172_800, 432_000, 864_000], space: 60 },
            { ...axis, values: (_, splits) => splits.map(format), size: 56 },
          ],
          series: [
            { label: "Day", value: (_, at) => (at == null ? "–" : new Date(at * 1000).toISOString().slice(0, 10)) },
            ...series.map((one) => ({ label: one.label, fill: color(one.color), stroke: color(one.color), width: 0, paths: uPlot.paths.bars?.({ size: [0.7, 44], radius: 0.12 }) as uPlot.Series.PathBuilder, points: { show: false }, value: (_: uPlot, value: number | null) => (value == null ? "–" : format(value)) })),
          ],
        },
        [days, ...series.map((one) => one.values)],
        element,
      );
    };
    let plot = draw();
    const resized = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: 240 }));
    resized.observe(element);
    const again = () => { plot.destroy(); plot = draw(); };
    const media = matchMedia("(prefers-color-scheme: dark)");
    media.addEventListener("change", again);
    const themed = new MutationObserver(again);
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => {
      resized.disconnect();
      themed.disconnect();
      media.removeEventListener("change", again);
      plot.destroy();
      probe.remove();
    };
  }, [days, series, format]);
  return <div ref={host} aria-hidden="true" className="min-h-[270px] w-full overflow-hidden text-xs text-soft" />;
}
