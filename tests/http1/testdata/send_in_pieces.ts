/**
 * Sends requests to a port, each over a new connection, head and body by writes of their own, and prints how many
 * were answered with 200.
 */
import { connect } from "node:net";
import process from "node:process";

const [port, requests] = process.argv.slice(2).map(Number) as [number, number];
const body = "x".repeat(200_000);
let answered = 0;
for (let i = 0; i < requests; i += 1) if ((await send()).startsWith("HTTP/1.1 200 ")) answered += 1;
process.stdout.write(`${answered}\n`);

function send(): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect({ host: "127.0.0.1", port, noDelay: true }, () => {
      socket.write(
        `POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`,
      );
      socket.write(body);
    });
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => answer += text);
    socket.on("error", () => {});
    socket.on("close", () => resolve(answer));
  });
}
