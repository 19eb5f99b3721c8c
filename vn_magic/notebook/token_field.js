// The token leaves the browser once, in a custom message, and the field is empty before it does.
// No trait ever holds it: traits are echoed to every client of the kernel and saved into notebooks.

function render({ model, el }) {
  el.classList.add("vn-token");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const button = document.createElement("button");

  input.type = "password";
  input.id = `vn-token-${Math.random().toString(36).slice(2)}`;
  input.autocomplete = "new-password"; // a browser's offer to save it, or to fill in another one, is of no use here
  input.spellcheck = false;
  input.placeholder = "sk-…";
  label.htmlFor = input.id;
  button.type = "button";
  button.textContent = "Use token";

  const follow = () => {
    label.textContent = `Token for ${model.get("origin")}`;
  };
  const send = () => {
    const token = input.value;
    input.value = "";
    if (!token.trim()) {
      input.focus();
      return;
    }
    // With the address that the person saw: the kernel refuses it if that has changed since.
    model.send({ token, origin: model.get("origin") });
  };
  button.addEventListener("click", send);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      send();
    }
  });
  model.on("change:origin", follow);
  follow();
  el.append(label, input, button);
  return () => {
    input.value = "";
    model.off("change:origin", follow);
  };
}

export default { render };
