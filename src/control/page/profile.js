"use strict";
// Has a CPU profile made for who has the token, and shows it as a picture.
//
// Always holds: one at a time; the token is in no address, is kept nowhere but in its field, and goes in a header. Never: a
// profile that nobody asked for.

const profile = {
  /** The address of the picture that is shown, to be given back. */
  url: null,

  async ask(token, lasts) {
    const button = byId("profile-make");
    button.disabled = true;
    say(byId("profile-word"), `For ${lasts} s the server is looked at, then names are looked for.`);
    try {
      const answer = await fetch(`debug/pprof/profile?format=flamegraph&seconds=${lasts}`, {
        headers: { authorization: `Bearer ${token}` },
      });
      if (answer.ok) this.show(await answer.blob(), lasts);
      else say(byId("profile-word"), (await answer.text()).trim());
    } catch {
      say(byId("profile-word"), "No answer: the server is gone, or the connection to it.");
    }
    button.disabled = false;
  },

  show(picture, lasts) {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(picture);
    const image = byId("profile-flame");
    image.src = this.url;
    image.alt = `Flame graph of ${lasts} s: the wider a function, the more processor time it took`;
    image.hidden = false;
    const link = byId("profile-save");
    link.href = this.url;
    link.hidden = false;
    say(byId("profile-word"), "Threads at the top, what they called below; the wider, the more time.");
  },
};

byId("profile-ask").addEventListener("submit", (event) => {
  event.preventDefault();
  profile.ask(byId("profile-token").value.trim(), Number(byId("profile-seconds").value));
});
