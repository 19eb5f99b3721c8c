// A cell to look at and to copy. Its text is only ever set as text, never as HTML.

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text); // offered on https:// and on this machine only
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("aria-hidden", "true");
    area.style.position = "fixed";
    area.style.opacity = "0";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function render({ model, el }) {
  el.classList.add("vn-cell");
  const cell = document.createElement("pre");
  const button = document.createElement("button");
  const answer = document.createElement("span");

  cell.tabIndex = 0; // a long line scrolls, and arrow keys must reach it
  cell.setAttribute("role", "region");
  cell.setAttribute("aria-label", "The same as a cell");
  button.type = "button";
  button.textContent = "Copy cell";
  answer.setAttribute("role", "status");

  const follow = () => {
    cell.textContent = model.get("code");
    button.disabled = !model.get("code");
    answer.textContent = "";
  };
  button.addEventListener("click", async () => {
    const done = await copied(model.get("code"));
    answer.textContent = done ? "Copied: paste it into a cell." : "This browser does not allow it: select the text.";
    button.focus();
  });
  model.on("change:code", follow);
  follow();
  el.append(cell, button, answer);
  return () => model.off("change:code", follow);
}

export default { render };
