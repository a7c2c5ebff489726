const said = document.getElementById("said");

function show(text) {
  const line = document.createElement("li");
  line.textContent = text;
  said.prepend(line);
}

const socket = new WebSocket(location.href.replace(/^http/, "ws"));
socket.onmessage = (event) => show(event.data);
socket.onclose = (event) => show(`The conversation has ended: ${event.code} ${event.reason}`);

document.forms[0].onsubmit = (event) => {
  event.preventDefault();
  const text = event.target.elements.text;
  socket.send(text.value);
  text.value = "";
};
