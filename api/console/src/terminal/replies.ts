// What a terminal answers by itself when a program asks it something: where the cursor is, what it is, which colours it has.

const REPLY = /^\u001b(?:\[[?>]?[\d;]*\$?[cnRyt]|\](?:4;\d+|1[0-2]);[^\u0007\u001b]*(?:\u0007|\u001b\\)|P[\s\S]*\u001b\\)$/;

/** Whether this is such an answer: while old output is shown again nobody asks, and the shell would take it for typing. */
export const isReply = (data: string) => REPLY.test(data);
