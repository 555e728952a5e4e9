output "address" {
  description = "Host name of the database."
  value       = aws_db_instance.this.address
}

output "port" {
  description = "Port of the database."
  value       = aws_db_instance.this.port
}

output "owner_secret_arn" {
  description = "Secrets Manager entry with the owner's name and password."
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
}
