//! Sessions over pipes that take and give as little as they like.
