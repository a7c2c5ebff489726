// node `ws`: messages are written in the callback, on the loop. No hash, no fsync.
import fs from "node:fs";
import path from "node:path";
import { WebSocketServer } from "ws";

const [folder, port] = process.argv.slice(2);

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), maxPayload: 0, perMessageDeflate: false });
server.on("connection", (socket, request) => {
  const file = fs.openSync(path.join(folder, path.basename(request.url)), "w");
  socket.on("message", (data) => fs.writeSync(file, data));
  socket.on("close", () => fs.closeSync(file));
});
