// A file by tus-js-client, as a program for Node has it: node upload.mjs ENDPOINT FILE NAME [CHUNK]
// Prints how many bytes were acknowledged, and at the end the URL. It heals what it can by itself.
import fs from "node:fs";
import { Upload } from "tus-js-client";

const [endpoint, path, name, chunk] = process.argv.slice(2);
const upload = new Upload(fs.createReadStream(path), {
  endpoint,
  uploadSize: fs.statSync(path).size,
  chunkSize: chunk ? Number(chunk) : Infinity,
  metadata: { filename: name, filetype: "application/octet-stream" },
  retryDelays: [0, 200, 200, 500, 500, 1000, 1000, 1000, 2000, 2000, 2000, 2000],
  storeFingerprintForResuming: false,
  onProgress: (sent) => console.log(`sent ${sent}`),
  onError: (error) => { console.log(`error ${error.message}`); process.exit(1); },
  onSuccess: () => console.log(`stored ${upload.url}`),
});
upload.start();
