import { expect, test } from "vitest";
import { Frames } from "./sse";

test("frames are the same however the bytes are cut", () => {
  const text = "retry: 1500\n: open\n\nevent: session\nid: a b\ndata: {\"x\":\ndata: 1}\n\n: still here\n\ndata:bare\n\n";
  for (let cut = 0; cut <= text.length; cut++) {
    const frames = new Frames();
    const found = [...frames.push(text.slice(0, cut)), ...frames.push(text.slice(cut))];
    expect(found).toEqual([
      { event: "session", id: "a b", data: '{"x":\n1}' },
      { event: "message", data: "bare" },
    ]);
    expect(frames.retry).toBe(1500);
  }
});

test("a frame that is not whole is not told", () => {
  expect(new Frames().push("event: session\ndata: {}\n")).toEqual([]);
});
