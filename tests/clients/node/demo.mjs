// The demo as a bank's program sees it: an address, a key, and the names of the models.
export const baseURL = process.env.FINPOOL_BASE_URL;
export const apiKey = process.env.BANK_A_KEY;
export const CHAT = "smollm2-135m-instruct";
export const EMBEDS = "multilingual-e5-small";
export const DIMENSIONS = 384;
