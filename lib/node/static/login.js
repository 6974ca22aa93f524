// Moves the token from the link's fragment into the form. A browser never sends the fragment by itself, so
// opening the link uses nothing up; pressing the button does.
"use strict";

const token = location.hash.slice(1);
if (token) {
  document.getElementById("token").value = token;
  document.getElementById("code-field").hidden = true;
  // Out of the address bar and the history: it is worth nothing soon, but it is a secret until then.
  history.replaceState(null, "", location.pathname);
  document.getElementById("sign-in").focus();
}
