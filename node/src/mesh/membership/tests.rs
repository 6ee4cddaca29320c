//! The opening of links, and what members make of each other's news.
