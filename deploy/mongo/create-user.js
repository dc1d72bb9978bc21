// Runs once, on an empty volume. dbAdmin: migrations make indexes and validators.
db.getSiblingDB("spatial_etl").createUser({
  user: "spatial-etl",
  pwd: process.env.MONGO_PASSWORD,
  roles: [{ role: "readWrite", db: "spatial_etl" }, { role: "dbAdmin", db: "spatial_etl" }],
});
