// Uploads files, one after the other, with their progress.
import { ApiError } from "../api_client.js";
import { bytes } from "../format.js";

/**
 * A file that is being uploaded, or that can't be; sizes are in bytes.
 * @typedef {{key: number, name: string, size: number, sent: number, error: string | null}} Upload
 */

/** Return what keeps a file from being uploaded, before a byte is sent; null if nothing does. @param {File} file @param {number | null} limit in bytes */
export function refusal(file, limit) {
  if (file.size === 0) return "is empty: attach a file with content";
  if (limit !== null && file.size > limit) return `has ${bytes(file.size)}; a file may have ${bytes(limit)}`;
  return null;
}

/**
 * Send one file, and tell how many bytes of it were sent. fetch() can't tell that, so this is an XMLHttpRequest.
 * @param {File} file
 * @param {{onProgress: (sent: number) => void, signal: AbortSignal}} options
 * @returns {Promise<import("./contract.js").Attached>}
 */
export function upload(file, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const fail = (/** @type {number} */ status, /** @type {string} */ message) =>
      reject(new ApiError(status, "upload_failed", message));
    request.open("POST", `/v1/files?filename=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onerror = () => fail(0, "the upload was interrupted");
    request.onabort = () => fail(0, "the upload was stopped");
    request.onload = () => {
      if (request.status === 201 && request.response?.artifact_id) resolve(request.response);
      else fail(request.status, request.response?.message ?? `the server answered ${request.status}`);
    };
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
