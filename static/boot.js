// Starts the page's wasm. A file and not an inline script, so that the Content-Security-Policy needs no exception.
const { js, wasm } = document.querySelector("script[data-wasm]").dataset;
try {
  const { default: init } = await import(js);
  await init({ module_or_path: new URL(wasm, import.meta.url) });
} catch (error) {
  const message = document.createElement("p");
  message.setAttribute("role", "alert");
  message.textContent = `This page could not start: ${error.message ?? error}. It needs a current browser with WebAssembly.`;
  document.body.prepend(message);
  throw error;
}
