//! The examples as a user runs them: processes of their own, real sockets, and a browser.

// The demo's page works in Chromium.
mod browser;
// The demo signs in and logs out over HTTP.
mod demo;
// The reverse proxy carries requests between real sockets.
mod reverse_proxy;
// The shortest examples reject invalid tokens, and exit on SIGTERM.
mod shutdown;
