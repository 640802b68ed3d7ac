// Exchanges an access key, or a one-time token that is in the address, for a cookie that scripts cannot read.

const form = document.getElementById("form");
const key = document.getElementById("key");
const problem = document.getElementById("problem");

async function signIn(body) {
  problem.hidden = true;
  try {
    const response = await fetch("sign-in", {
      method: "POST", credentials: "same-origin", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    const answer = await response.json();
    if (response.ok) {
      location.replace("./");
      return;
    }
    problem.textContent = answer?.error?.message ?? "That did not work.";
  } catch {
    problem.textContent = "Orchestra does not answer. Is the server still running?";
  }
  problem.hidden = false;
  key.value = "";
  key.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  signIn({ key: key.value });
});

// Behind the #, an address is never sent to a server nor written to its log.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
  history.replaceState(null, "", location.pathname);
  signIn({ token });
}
