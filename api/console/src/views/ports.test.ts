import { expect, test } from "vitest";
import { listening } from "./ports";

test("ports that listen are read from the kernel's tables", () => {
  const text = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 0A00020F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   2: 0100007F:C350 0100007F:0BB8 01 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 20 4 30 10 -1
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 1`;
  expect(listening(text)).toEqual([{ port: 3000 }, { port: 8080 }]);
});

test("programs are named where the machine names them", () => {
  const text = `LISTEN 0      128          127.0.0.1:5432       0.0.0.0:*
LISTEN 0      511                  *:3000             *:*    users:(("node",pid=7,fd=19))
LISTEN 0      128              [::1]:3000          [::]:*
LISTEN 0      128           10.0.0.4:9000       0.0.0.0:*`;
  expect(listening(text)).toEqual([{ port: 3000, program: "node" }, { port: 5432 }]);
  expect(listening("tcp4       0      0  127.0.0.1.8000         *.*                    LISTEN     ")).toEqual([{ port: 8000 }]);
});

test("anything else is no port", () => {
  expect(listening("")).toEqual([]);
  expect(listening("bash: ss: command not found\nLISTEN here: <img src=x onerror=1>:99999 ")).toEqual([]);
});
