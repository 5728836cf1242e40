// Answers of the API as files: a link would not send the reader's token.

import { opened } from "../api.js";

/** Ask for a path and have the browser save the answer under a name. Raises Problem. */
export async function save(path, name) {
  const response = await opened(path);
  const url = URL.createObjectURL(await response.blob());
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  URL.revokeObjectURL(url);
}
