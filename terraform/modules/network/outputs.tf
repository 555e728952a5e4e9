output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Ids of the private subnets, one for each zone."
  value       = [for zone in var.zones : aws_subnet.private[zone].id]
}

output "private_subnet_cidrs" {
  description = "Networks of the private subnets; the chart lets pods reach the database there."
  value       = [for zone in var.zones : aws_subnet.private[zone].cidr_block]
}

output "public_subnet_ids" {
  description = "Ids of the public subnets, one for each zone."
  value       = [for zone in var.zones : aws_subnet.public[zone].id]
}
