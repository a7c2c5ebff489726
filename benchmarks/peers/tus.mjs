// @tus/server with @tus/file-store, as its documentation shows it. No hash, no fsync.
import http from "node:http";
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [folder, port] = process.argv.slice(2);

const tus = new Server({ path: "/files", datastore: new FileStore({ directory: folder }) });
const server = http.createServer(tus.handle.bind(tus));
server.requestTimeout = 0;
server.listen({ host: "127.0.0.1", port: Number(port) });
