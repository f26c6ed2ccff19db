//! The credentials that a request carries: all of them are found, and no others.

// Each case of `credentials.json`, sent through the layer.
mod credentials;
// Random requests: no spelling of a dead token reaches the app.
mod no_way_around;
// Random pairs of users: a logout of one user ends nothing that the other could send.
mod nobody_else;
// Over HTTP/2 a client may send each cookie in a header field of its own.
mod split_cookies;
